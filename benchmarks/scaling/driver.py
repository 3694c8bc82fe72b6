"""The parent's side of the processes, and a single measurement with them."""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

from benchmarks.processes import Process
from benchmarks.usage import cpu_seconds_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.scaling.child import Spec


class Child(Process):
    """A worker or client process."""

    def __init__(self, role: Literal["serve", "call"], spec: Spec) -> None:
        super().__init__(
            f"scaling {role}", [sys.executable, "-m", "benchmarks.scaling.child", role, json.dumps(asdict(spec))]
        )


@dataclass(frozen=True)
class Point:
    """The result of one measurement.

    Attributes:
        rate: calls per second, all clients together.
        median: median latency in seconds.
        p99: 99th percentile of the latency in seconds.
        broker_cpu: CPU seconds per call, all nodes together.
        worker_cpu: the same, all workers together.
        client_cpu: the same, all clients together.
        cores: how many cores all of these kept busy.
    """

    rate: float
    median: float
    p99: float
    broker_cpu: float
    worker_cpu: float
    client_cpu: float
    cores: float


def _cpu(children: Sequence[Child]) -> float:
    for child in children:
        child.say("cpu")
    total: float = sum(child.read()["cpu"] for child in children)
    return total


def measure(
    broker: Sequence[int], workers: Sequence[Child], clients: Sequence[Child], in_flight: int, seconds: float
) -> Point:
    """Let all clients call at the same time.

    Args:
        broker: process ids of the nodes.
        workers: the serving workers.
        clients: the clients that make calls.
        in_flight: calls in flight, all clients together.
        seconds: duration.
    """
    worked, brokered = _cpu(workers), sum(map(cpu_seconds_of, broker))
    for number, client in enumerate(clients):
        share = in_flight // len(clients) + (number < in_flight % len(clients))
        client.say("run", in_flight=share, seconds=seconds)
    done = [client.read() for client in clients]
    brokered = sum(map(cpu_seconds_of, broker)) - brokered
    worked = _cpu(workers) - worked
    calls, called = sum(one["calls"] for one in done), sum(one["cpu"] for one in done)
    took = max(one["seconds"] for one in done)
    return Point(
        rate=calls / took,
        median=statistics.fmean(one["median"] for one in done),
        p99=max(one["p99"] for one in done),
        broker_cpu=brokered / calls,
        worker_cpu=worked / calls,
        client_cpu=called / calls,
        cores=(brokered + worked + called) / took,
    )


def median_of(points: Sequence[Point]) -> dict[str, float]:
    """Return the medians of several measurements, with the lowest and highest rate."""
    rows = [asdict(point) for point in points]
    medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    return medians | {"rate_low": min(row["rate"] for row in rows), "rate_high": max(row["rate"] for row in rows)}
