"""What traces cost: ``python -m benchmarks.tracing``, on RabbitMQ, side by side.

A worker in a process of its own and a client in another, for each way. The ways take turns, and the medians of all
turns are printed, with the throughput relative to plain.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack

from benchmarks.brokers import broker_to_measure

_WAYS = {
    "plain": "",
    "not switched on": "installed",
    "sampled 1 %": "0.01",
    "sampled 1 %, with metrics": "0.01 metrics",
    "sampled 100 %": "1.0",
}


def _set_up(way: str) -> None:
    """Set the providers of this process."""
    if not way or way == "installed":
        return
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    class Nowhere(SpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    ratio, _, more = way.partition(" ")
    provider = TracerProvider(sampler=ParentBased(TraceIdRatioBased(float(ratio))))
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    trace.set_tracer_provider(provider)
    if more:
        metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))


async def _serve() -> None:
    from rabibridge import RMQServer

    async def add(a: int, b: int) -> int:
        return a + b

    server = RMQServer()
    server.add_service(add)
    async with server.serving():
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def _call(seconds: float, in_flight: int) -> None:
    from rabibridge import RMQClient

    async with RMQClient() as client:
        ends_at, count = time.perf_counter() + seconds, 0

        async def caller() -> None:
            nonlocal count
            while time.perf_counter() < ends_at:
                await client.remote_call("add", (1, 2), timeout=60)
                count += 1

        began = time.perf_counter()
        await asyncio.gather(*(caller() for _ in range(in_flight)))
        print(count / (time.perf_counter() - began), flush=True)


def _measure(url: str, way: str, seconds: float, in_flight: int) -> float:
    switched = "true" if way and way != "installed" else "false"
    variables = os.environ | {"RABIBRIDGE_URL": url, "RABIBRIDGE_OPENTELEMETRY": switched}
    command = [sys.executable, "-m", "benchmarks.tracing", "--way", way]
    with ExitStack() as stack:
        worker = stack.enter_context(
            subprocess.Popen([*command, "--as", "worker"], env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
        assert worker.stdout is not None
        worker.stdout.readline()
        arguments = ["--as", "client", "--seconds", str(seconds), "--in-flight", str(in_flight)]
        done = subprocess.run([*command, *arguments], env=variables, stdout=subprocess.PIPE, check=True)
        assert worker.stdin is not None
        worker.stdin.close()
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--in-flight", type=int, default=128, help="calls at a time")
    parser.add_argument("--way", default="", help=argparse.SUPPRESS)
    parser.add_argument("--as", dest="role", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        _set_up(given.way)
        asyncio.run(_serve() if given.role == "worker" else _call(given.seconds, given.in_flight))
        return
    found: dict[str, list[float]] = {name: [] for name in _WAYS}
    with broker_to_measure() as broker:
        for _ in range(given.rounds):
            for name, way in _WAYS.items():
                found[name].append(_measure(broker.url, way, given.seconds, given.in_flight))
    plain = statistics.median(found["plain"])
    print(f"{'':28} {'calls/s':>9} {'of plain':>9}")
    for name, rates in found.items():
        print(f"{name:28} {statistics.median(rates):9.0f} {statistics.median(rates) / plain:9.3f}")


if __name__ == "__main__":
    main()
