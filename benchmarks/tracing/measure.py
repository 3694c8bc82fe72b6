"""Measures calls over RabbitMQ without traces, and with them in several ways, in turns.

Each way has a server and a client in processes of their own, since a process has one provider of OpenTelemetry. They
take turns with the same calls, so that whatever else the machine does strikes all alike.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from benchmarks.protection.measure import Turn
from rabibridge import RMQClient, RMQServer
from rabibridge_core.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

    from opentelemetry.sdk.trace import ReadableSpan

    from rabibridge_core.settings import Settings

__all__ = ["CALLS", "IN_FLIGHT", "WAYS", "measure"]

IN_FLIGHT = 64
CALLS = 4_000
"""Calls of a turn; argument and result have 16 bytes."""
BY_HAND = "plain, with a header like theirs"
WAYS: dict[str, tuple[float | None, bool]] = {
    "plain": (None, False),
    BY_HAND: (None, False),
    "traces, none sampled": (0.0, False),
    "traces, 1 % sampled": (0.01, False),
    "traces, 100 % sampled": (1.0, False),
    "traces, 1 % sampled, and metrics": (0.01, True),
}
"""What is compared: the ratio of the sampler (``None``: not switched on), and whether durations are recorded.

The second way carries a constant ``traceparent``, which nobody makes or reads: what can be saved at most is beyond it.
"""
_HEADERS = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}
_VALUE = b"sixteen bytes..."


def _set_up(url: str, way: str) -> Settings:
    """Set the providers of this process, which export to nowhere."""
    ratio, measured = WAYS[way]
    if ratio is None:
        return load_settings(url=url)
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    class Nowhere(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            for span in spans:  # reads what an exporter sends: some of it is made only then
                _ = span.name, span.attributes, span.events, span.links, span.status
            return SpanExportResult.SUCCESS

    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(ratio)))
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    trace.set_tracer_provider(provider)
    if measured:
        metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
    return load_settings(url=url, options={"opentelemetry": True})


def _name(way: str) -> str:
    return f"echo_{list(WAYS).index(way)}"


async def echo(value: bytes) -> bytes:
    """Return its argument."""
    return value


def _serve(url: str, way: str, control: Connection) -> None:
    async def run() -> None:
        server = RMQServer(settings=_set_up(url, way))
        server.add_service(echo, name=_name(way), fetch_size=2 * IN_FLIGHT)
        async with server.serving():
            control.send(None)
            while await asyncio.to_thread(control.recv):
                await _exported()
                control.send(time.process_time())

    asyncio.run(run())


def _call(url: str, way: str, control: Connection) -> None:
    async def run() -> None:
        async with RMQClient(settings=_set_up(url, way)) as client:
            control.send(None)
            while calls := await asyncio.to_thread(control.recv):
                control.send(await _turn(client, way, calls))

    asyncio.run(run())


async def _turn(client: RMQClient, way: str, calls: int) -> tuple[float, float, int]:
    name, headers = _name(way), _HEADERS if way == BY_HAND else None

    async def caller(count: int) -> None:
        for _ in range(count):
            await client.remote_call(name, (_VALUE,), timeout=60, headers=headers)

    each = max(calls // IN_FLIGHT, 1)
    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller(each) for _ in range(IN_FLIGHT)))
    elapsed = time.perf_counter() - began
    await _exported()
    return elapsed, time.process_time() - used, each * IN_FLIGHT


async def _exported() -> None:
    """Wait until what this turn has left is exported: its CPU belongs to this turn, and must not slow the next one."""
    from opentelemetry import trace

    flush = getattr(trace.get_tracer_provider(), "force_flush", None)
    if flush is not None:
        await asyncio.to_thread(flush)


@contextmanager
def _process(run: Callable[[str, str, Connection], None], url: str, way: str) -> Iterator[Connection]:
    """Run one side of a way in a process of its own; yield the pipe to it when it is ready."""
    context = multiprocessing.get_context("spawn")  # a process that was forked has no threads of an SDK
    ours, theirs = context.Pipe()
    process = context.Process(target=run, args=(url, way, theirs), daemon=True)
    process.start()
    theirs.close()
    try:
        ours.recv()
        yield ours
        ours.send(0)
        process.join()
    finally:
        process.terminate()
        process.join()


def _take_turn(server: Connection, client: Connection, calls: int) -> Turn:
    server.send(1)
    before = server.recv()
    client.send(calls)
    elapsed, used, count = client.recv()
    server.send(1)
    return Turn(elapsed / count, used / count, (server.recv() - before) / count)


def measure(url: str, turns: int, calls: int = CALLS) -> dict[str, list[Turn]]:
    """Return the turns of each way.

    Args:
        url: the broker.
        turns: how many each way has.
        calls: how many calls a turn has.
    """
    found: dict[str, list[Turn]] = {way: [] for way in WAYS}
    with ExitStack() as stack:
        pipes = {}
        for way in WAYS:
            server = stack.enter_context(_process(_serve, url, way))
            client = stack.enter_context(_process(_call, url, way))
            pipes[way] = server, client
            _take_turn(server, client, calls)  # warms up
        for number in range(turns):
            for way in WAYS if number % 2 else reversed(WAYS):
                server, client = pipes[way]
                found[way].append(_take_turn(server, client, calls))
    return found
