"""Make the picture in docs/observability.md: ``python -m tools.trace_picture``, from the spans of a real run.

A worker in a process of its own and a client in this one, on a private RabbitMQ; both write their spans into a file.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from html import escape
from pathlib import Path
from typing import Any

from tools.broker import provide_broker

PICTURE = Path(__file__).parents[1] / "docs/observability/trace.svg"
_EXPORT = """
import os
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

provider = TracerProvider()
out = open(os.environ["SPANS"], "a", buffering=1)
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(
    out=out, formatter=lambda span: span.to_json(indent=None) + "\\n")))
trace.set_tracer_provider(provider)
"""
_WORKER = (
    _EXPORT
    + """
import asyncio
from rabibridge import RMQClient, register_call

@register_call
async def reserve(article):
    await asyncio.sleep(0.006)

@register_call
async def report(articles):
    for article in articles:
        await asyncio.sleep(0.004)
        yield article

@register_call(fetch_size=1)
async def order(articles):
    async with RMQClient() as client:
        for article in articles:
            await client.remote_call("reserve", (article,))
        return [line async for line in client.stream("report", articles)]
"""
)
_CLIENT = (
    _EXPORT
    + """
import asyncio
from rabibridge import RMQClient

async def main():
    async with RMQClient() as client:
        await client.remote_call("order", ([],))
        await asyncio.gather(client.remote_call("order", (["tea"],)), client.remote_call("order", (["tea", "cup"],)))

asyncio.run(main())
"""
)
_COLOURS = {"CLIENT": "#2563a8", "SERVER": "#2e8b57"}
_WIDTH, _LEFT, _ROW, _TOP = 880, 250, 26, 54


def _spans(broker_url: str, folder: Path) -> list[dict[str, Any]]:
    (folder / "worker.py").write_text(_WORKER)
    variables = os.environ | {
        "RABIBRIDGE_URL": broker_url, "RABIBRIDGE_OPENTELEMETRY": "true", "SPANS": str(folder / "worker.json"),
    }  # fmt: skip
    command = [sys.executable, "-m", "rabibridge", "run", "worker.py"]
    with (folder / "log").open("wb") as log:
        worker = subprocess.Popen(command, cwd=folder, env=variables, stderr=log, stdout=log)
    try:
        asyncio.run(_answers(broker_url))
        variables["SPANS"] = str(folder / "client.json")
        subprocess.run([sys.executable, "-c", _CLIENT], env=variables, check=True, timeout=60)
        time.sleep(0.5)
    finally:
        worker.terminate()
        worker.wait()
    found = []
    for process in ("client", "worker"):
        for line in (folder / f"{process}.json").read_text().splitlines():
            span = json.loads(line)
            found.append(span | {"process": process})
    return found


async def _answers(broker_url: str) -> None:
    from rabibridge import NoRouteError, RMQClient

    async with RMQClient(url=broker_url) as client, asyncio.timeout(60):
        while True:
            try:
                await client.remote_call("order", ([],), timeout=5)
            except NoRouteError:
                await asyncio.sleep(0.1)
            else:
                return


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def _picture(spans: list[dict[str, Any]]) -> str:
    """Draw the trace with the most spans."""
    traces: dict[str, list[dict[str, Any]]] = {}
    for span in spans:
        traces.setdefault(span["context"]["trace_id"], []).append(span)
    chosen = max(traces.values(), key=len)
    by_parent: dict[str | None, list[dict[str, Any]]] = {}
    for span in chosen:
        by_parent.setdefault(span["parent_id"], []).append(span)
    rows: list[tuple[int, dict[str, Any]]] = []

    def walk(parent: str | None, depth: int) -> None:
        for span in sorted(by_parent.get(parent, ()), key=lambda each: each["start_time"]):
            rows.append((depth, span))
            walk(span["context"]["span_id"], depth + 1)

    walk(None, 0)
    begin = min(_seconds(span["start_time"]) for span in chosen)
    end = max(_seconds(span["end_time"]) for span in chosen)
    scale = (_WIDTH - _LEFT - 90) / (end - begin)
    height = _TOP + _ROW * len(rows) + 40
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" '
        'font-size="12" role="img">',
        "<title>A trace over two processes</title>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        '<text x="12" y="22" font-size="14" font-weight="bold" fill="#222222">one call, over two processes</text>',
        *_legend(),
    ]
    for number, (depth, span) in enumerate(rows):
        lines += _row(_TOP + _ROW * number, depth, span, begin, scale)
    lines.append(f'<text x="{_LEFT}" y="{height - 14}" fill="#555555">0 ms</text>')
    last = f"{(end - begin) * 1000:.0f} ms"
    lines.append(f'<text x="{_WIDTH - 90}" y="{height - 14}" fill="#555555" text-anchor="end">{last}</text>')
    return "\n".join([*lines, "</svg>", ""])


def _legend() -> list[str]:
    lines, x = [], _LEFT + 150
    for colour, text in (
        (_COLOURS["CLIENT"], "client span"),
        (_COLOURS["SERVER"], "server span"),
        ("#c9c9c9", "queue"),
    ):
        lines.append(f'<rect x="{x}" y="30" width="12" height="12" fill="{colour}"/>')
        lines.append(f'<text x="{x + 17}" y="40" fill="#222222">{text}</text>')
        x += 120
    return lines


def _row(y: int, depth: int, span: dict[str, Any], begin: float, scale: float) -> list[str]:
    kind = span["kind"].rpartition(".")[2]
    attributes = span["attributes"]
    shape = " (stream)" if attributes.get("rabibridge.shape") == "stream" else ""
    start, end = (_seconds(span[name]) - begin for name in ("start_time", "end_time"))
    x, width = _LEFT + start * scale, max(2.0, (end - start) * scale)
    label = escape(f"{span['name']}{shape} · {span['process']}")
    lines = [f'<text x="{12 + 14 * depth}" y="{y + 13}" fill="#222222">{label}</text>']
    queued = attributes.get("rabibridge.queue.duration")
    if queued:
        before = min(queued * scale, x - _LEFT)
        lines.append(f'<rect x="{x - before:.1f}" y="{y + 5}" width="{before:.1f}" height="6" fill="#c9c9c9"/>')
    lines.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="16" rx="2" fill="{_COLOURS[kind]}"/>')
    text = f"{(end - start) * 1000:.1f} ms"
    lines.append(f'<text x="{min(x + width + 6, _WIDTH - 70):.1f}" y="{y + 13}" fill="#555555">{text}</text>')
    return lines


def main() -> None:
    broker = provide_broker()
    if broker is None:
        sys.exit("no RabbitMQ can be had")
    with broker, tempfile.TemporaryDirectory() as folder:
        spans = _spans(broker.url, Path(folder))
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(_picture(spans), encoding="utf-8")
    print(f"wrote {PICTURE}: {len(spans)} spans")


if __name__ == "__main__":
    main()
