"""Measures a service whose capacity changes, with its queue bounded in seconds and in calls."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.overload.cell import Program
from benchmarks.overload.figures import Figures, Percentiles, figures, percentiles
from benchmarks.overload.terms import CAPACITY, MAX_WAIT, QUEUE_SIZE, RAMP

if TYPE_CHECKING:
    from tools.broker import Broker

LOAD = 5.0
"""The offered load, as a multiple of the capacity at first."""
LONGEST = 1.1 * MAX_WAIT
"""How long 99 of 100 calls may have waited when they start, in seconds: a tenth is for the way and the event loop."""
ARRANGEMENTS = {f"max_wait={MAX_WAIT:g}": "max_wait", f"queue_size={QUEUE_SIZE}": "queue_size"}
"""The services that are called."""


@dataclass(frozen=True)
class Waits:
    """The figures of one arrangement.

    Attributes:
        figures: what callers get.
        wait: how long calls that ran had waited, from when they were made, in seconds.
        medians: the same by the second in which they started: the median; ``None``: none has started.
    """

    figures: Figures
    wait: Percentiles
    medians: list[float | None]


def run(broker: Broker, arrangement: str, seconds: float) -> Waits:
    """Offer five times the capacity, which changes twice under way."""
    url, service = broker.fresh_vhost(), ARRANGEMENTS[arrangement]
    with Program("server", "ours", url, service) as server, Program("client", "ours", url, service) as client:
        server.read()
        client.read()
        client.tell(rate=LOAD * CAPACITY, seconds=seconds, seed="waits")
        log = client.read()
        server.tell()
        return _counted(log, server.read()["runs"], seconds)


def _counted(log: dict[str, Any], runs: list[tuple[int, float, float]], seconds: float) -> Waits:
    waits: list[list[float]] = [[] for _ in range(math.ceil(seconds))]
    for number, began, _ in runs:
        second = int(began - log["start"])
        if second < len(waits):
            waits[second].append(began - log["start"] - log["issued"][number])
    counted = (wait for second, each in enumerate(waits) if second >= RAMP for wait in each)
    medians = [statistics.median(each) if each else None for each in waits]
    return Waits(figures(log, runs, seconds), percentiles(counted), medians)
