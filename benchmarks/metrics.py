"""Measure what metrics for Prometheus cost: ``make compare-metrics``.

It is a part of ``make compare``. A worker in a process of its own and a client in another, for each way. The ways take
turns; the table shows the medians of all turns, and the throughput and the processor time of a call relative to plain.
Then a scrape is timed. The figures are written to docs/performance.md, every turn to benchmarks/results/metrics.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks import marked
from benchmarks.brokers import broker_to_measure
from benchmarks.environments import ROOT

if TYPE_CHECKING:
    from tools.broker import Broker

RESULTS, _PAGE = ROOT / "benchmarks/results/metrics.json", ROOT / "docs/performance.md"
IN_FLIGHT = 128
_WAYS = ("plain", "client counts", "worker counts", "both count")


def _set_up(way: str, role: str) -> None:
    """Let this process count, if the way says so."""
    if way in ("both count", f"{role} counts"):
        from rabibridge_telemetry.prometheus import start

        start()


async def _serve() -> None:
    from rabibridge import RMQServer

    async def add(a: int, b: int) -> int:
        return a + b

    server = RMQServer()
    server.add_service(add)
    async with server.serving():
        began = time.process_time()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
    print(time.process_time() - began, flush=True)


async def _call(seconds: float, in_flight: int) -> None:
    from rabibridge import RMQClient

    async with RMQClient() as client:
        ends_at, count = time.perf_counter() + seconds, 0

        async def caller() -> None:
            nonlocal count
            while time.perf_counter() < ends_at:
                await client.remote_call("add", (1, 2), timeout=60)
                count += 1

        began, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*(caller() for _ in range(in_flight)))
        print(json.dumps([count, time.perf_counter() - began, time.process_time() - used]), flush=True)


def _measure(url: str, way: str, seconds: float, in_flight: int) -> tuple[float, float]:
    """Return calls in a second, and the processor time of client and worker for one, in seconds."""
    variables = os.environ | {"RABIBRIDGE_URL": url}
    command = [sys.executable, "-m", "benchmarks.metrics", "--way", way]
    with ExitStack() as stack:
        worker = stack.enter_context(
            subprocess.Popen([*command, "--as", "worker"], env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdout.readline()
        arguments = ["--as", "client", "--seconds", str(seconds), "--in-flight", str(in_flight)]
        done = subprocess.run([*command, *arguments], env=variables, stdout=subprocess.PIPE, check=True)
        worker.stdin.close()
        served = float(worker.stdout.readline())
    count, taken, called = json.loads(done.stdout)
    return count / taken, (called + served) / count


def _scrape(services: int) -> float:
    """Return how long it takes to write the metrics of so many services, in seconds: the median of 20."""
    from rabibridge_core._observability.metric_totals import MetricTotals
    from rabibridge_telemetry._metrics.client_calls import ClientCalls, count_calls
    from rabibridge_telemetry._metrics.exposition import expose

    metrics = count_calls()
    calls = ClientCalls(metrics)
    for number in range(services):
        calls.ended(f"service-{number}", 0.01, None, None)
    times = []
    for _ in range(20):
        began = time.perf_counter()
        totals = MetricTotals()
        totals.add_store(metrics.store)
        expose(totals, "")
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def compare(broker: Broker, *, rounds: int, seconds: float, keep: bool, in_flight: int = IN_FLIGHT) -> None:
    """Measure, print the table and, with ``keep``, write it."""
    url = broker.fresh_vhost()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in _WAYS}
    for _ in range(rounds):
        for way in _WAYS:
            found[way].append(_measure(url, way, seconds, in_flight))
    scrapes = {services: _scrape(services) for services in (1, 100)}
    date = time.strftime("%Y-%m-%d")
    text = _markdown(found, scrapes, f"Measured on {date}: medians of {rounds} turns, {in_flight} calls in flight.")
    print(text)
    if keep:
        kept = {"date": date, "seconds": seconds, "turns": found, "scrapes": scrapes}
        RESULTS.write_text(json.dumps(kept, indent=1) + "\n")
        marked.write(_PAGE, "metrics", text)


def _markdown(found: dict[str, list[tuple[float, float]]], scrapes: dict[int, float], first: str) -> str:
    medians = {way: tuple(map(statistics.median, zip(*turns, strict=True))) for way, turns in found.items()}
    plain_rate, plain_time = medians["plain"]
    lines = [first, "", "|  | calls/s of plain | CPU of client and worker for a call in µs | of plain |"]
    lines.append("| --- | ---: | ---: | ---: |")
    for way, (rate, used) in medians.items():
        lines.append(f"| {way} | {rate / plain_rate:.3f} | {used * 1e6:.1f} | {used / plain_time:.3f} |")
    told = ", ".join(f"{taken * 1e3:.1f} ms with {services} services" for services, taken in scrapes.items())
    return "\n".join([*lines, "", f"A scrape takes {told.replace('1 services', '1 service')}.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--in-flight", type=int, default=IN_FLIGHT, help="calls at a time")
    parser.add_argument("--no-write", action="store_true", help="change no file; print the table to standard output")
    parser.add_argument("--way", default="plain", help=argparse.SUPPRESS)
    parser.add_argument("--as", dest="role", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        _set_up(given.way, given.role)
        asyncio.run(_serve() if given.role == "worker" else _call(given.seconds, given.in_flight))
        return
    with broker_to_measure() as broker:
        compare(broker, rounds=given.rounds, seconds=given.seconds, keep=not given.no_write, in_flight=given.in_flight)


if __name__ == "__main__":
    main()
