"""Measure what a client of three independent brokers does while one is cut off, and while one is killed: `make shards`.

The brokers run in network namespaces of their own, which only root can make. The table and the picture go to
docs/scaling.md, the figures to benchmarks/results/shards.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks import marked
from benchmarks.charts import Chart, Series, draw
from benchmarks.environments import ROOT
from benchmarks.shards.network import Host, may_have_namespaces
from benchmarks.shards.timeline import STEP, Event, run

if TYPE_CHECKING:
    from benchmarks.shards.timeline import Timeline

_RESULTS, _PAGE = ROOT / "benchmarks/results/shards.json", ROOT / "docs/scaling.md"
_PICTURE = ROOT / "docs/scaling/shards.svg"
_NAMES = ("one", "two", "three")
_SECONDS = 40.0


def _measure() -> Timeline:
    with ExitStack() as stack:
        hosts = [stack.enter_context(Host(name, number)) for number, name in enumerate(_NAMES, 1)]
        urls = {host.name: f"{host.url}?heartbeat=2" for host in hosts}
        worker = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.shards.worker", *(f"{name}={url}" for name, url in urls.items())],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        stack.callback(worker.wait)
        assert worker.stdin is not None
        assert worker.stdout is not None
        stack.callback(worker.stdin.close)
        if worker.stdout.readline().strip() != "serving":
            raise RuntimeError("the worker does not serve")
        events = [
            Event(5.0, "cable of two pulled", hosts[1].cut_off),
            Event(17.0, "cable of two back", hosts[1].plug_in),
            Event(24.0, "three killed", hosts[2].kill),
            Event(29.0, "three starts again", hosts[2].start),
        ]
        return asyncio.run(run(urls, events, _SECONDS))


def _table(found: Timeline, date: str) -> str:
    steps = int(_SECONDS / STEP)
    quiet = sum(found.done[name][step] for name in _NAMES for step in range(4, 20)) / 16 / STEP
    times = ", ".join(f"{what} at {at:.0f} s" for at, what in found.happened)
    lines = [
        f"Measured on {date}, in one run of {_SECONDS:.0f} s: {times}. Before, {quiet:,.0f} calls/s over all three.",
        "",
        "| calls | number | ended with an error | longest time to a result |",
        "| --- | ---: | --- | ---: |",
    ]
    for kind in ("idempotent", "others"):
        errors = ", ".join(f"{number} {name}" for name, number in sorted(found.errors[kind].items())) or "none"
        lines.append(f"| {kind} | {found.calls[kind]:,} | {errors} | {found.slowest[kind]:.1f} s |")
    low = min(sum(found.done[name][step] for name in _NAMES) for step in range(1, steps - 1)) / STEP
    lines += ["", f"In the worst {STEP:g} s, {low:,.0f} calls/s had a result."]
    return "\n".join(lines)


def _draw(found: Timeline) -> None:
    steps = range(int(_SECONDS / STEP))
    series = [Series(f"broker {name}", [found.done[name][step] / STEP for step in steps]) for name in _NAMES]
    note = "; ".join(f"{at:.0f} s: {what}" for at, what in found.happened)
    chart = Chart(
        "Calls over three independent brokers", "seconds", "calls/s with a result",
        [step * STEP for step in steps], series, note=note,
    )  # fmt: skip
    draw({_PICTURE: chart})


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shards", description=__doc__)
    parser.add_argument("--no-write", action="store_true", help="change no file; print the table to standard output")
    options = parser.parse_args()
    if not may_have_namespaces():
        print("the brokers need network namespaces of their own: run it as root, with iproute2 installed")
        return 1
    found, date = _measure(), time.strftime("%Y-%m-%d")
    text = _table(found, date)
    print(text)
    if not options.no_write:
        _RESULTS.write_text(json.dumps({"date": date, "step": STEP, **vars(found)}, indent=1) + "\n")
        _draw(found)
        marked.write(_PAGE, "shards", f"{text}\n\n![Calls/s of each broker](scaling/shards.svg)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
