"""A trace over two services, printed: ``RABIBRIDGE_URL=amqp://... python examples/tracing.py``.

Each line is a span: its name, its kind, and how long it took. It needs the SDK, ``pip install opentelemetry-sdk``; a
real program exports to a collector instead.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rabibridge import RMQClient, RMQServer, register_call
from rabibridge_core.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.sdk.trace import ReadableSpan

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

settings = load_settings(options={"opentelemetry": True})
client = RMQClient(settings=settings)


@register_call
async def price(article: str) -> float:
    return {"tea": 2.5, "cup": 8.0}[article]


@register_call
async def prices(articles: list[str]) -> AsyncIterator[float]:
    for article in articles:
        yield await client.call(price, article)


@register_call
async def total(articles: list[str]) -> float:
    return sum([each async for each in client.stream(prices, articles)])


def show(spans: dict[int, list[ReadableSpan]], parent: int, depth: int) -> None:
    for span in sorted(spans[parent], key=lambda each: each.start_time or 0):
        milliseconds = ((span.end_time or 0) - (span.start_time or 0)) / 1e6
        print(f"{'  ' * depth}{span.name:{20 - 2 * depth}} {span.kind.name:8} {milliseconds:6.1f} ms")
        show(spans, span.context.span_id if span.context else -1, depth + 1)


async def main() -> None:
    server = RMQServer(settings=settings)
    server.load_services(globals())
    async with server.serving(), client:
        with trace.get_tracer("example").start_as_current_span("checkout"):
            print("total:", await client.call(total, ["tea", "cup"]))
    children: dict[int, list[ReadableSpan]] = defaultdict(list)
    for span in exporter.get_finished_spans():
        children[0 if span.parent is None else span.parent.span_id].append(span)
    show(children, 0, 0)


if __name__ == "__main__":
    asyncio.run(main())
