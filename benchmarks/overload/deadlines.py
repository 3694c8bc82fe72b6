"""Measures a service whose callers have different timeouts, with and without refusing calls that cannot end in time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.overload.cell import Program
from benchmarks.overload.figures import Figures, figures
from benchmarks.overload.flood import RESULT
from benchmarks.overload.terms import CAPACITY

if TYPE_CHECKING:
    from tools.broker import Broker

LOAD = 5.0
"""The offered load, as a multiple of the capacity."""
WASTED = 0.01
"""The share of runs that may be wasted."""
ARRANGEMENTS = {"with deadline admission": "admission", "without": "no admission"}
"""The services that are called."""


@dataclass(frozen=True)
class MixedDeadlines:
    """The figures of one arrangement.

    Attributes:
        figures: a result that the caller has got is in time: each caller has a timeout of its own.
        good: results in each second, by when the call was made.
        wasted: wasted runs in each second, by when they began.
    """

    figures: Figures
    good: list[int]
    wasted: list[int]


def run(broker: Broker, arrangement: str, seconds: float) -> MixedDeadlines:
    """Offer five times the capacity, with timeouts of 50 to 500 ms."""
    url, service = broker.fresh_vhost(), ARRANGEMENTS[arrangement]
    with Program("server", "ours", url, service) as server, Program("client", "ours", url, service) as client:
        server.read()
        client.read()
        client.tell(rate=LOAD * CAPACITY, seconds=seconds, seed="deadlines")
        log = client.read()
        server.tell()
        return _counted(log, server.read()["runs"], seconds)


def _counted(log: dict[str, Any], runs: list[tuple[int, float, float]], seconds: float) -> MixedDeadlines:
    good, wasted = ([0] * math.ceil(seconds) for _ in range(2))
    outcomes = log["outcomes"].encode()
    for due, outcome in zip(log["due"], outcomes, strict=True):
        good[int(due)] += outcome == RESULT
    for number, began, _ in runs:
        second = int(began - log["start"])
        if second < len(wasted):
            wasted[second] += outcomes[number] != RESULT
    return MixedDeadlines(figures(log, runs, seconds, timeout=math.inf), good, wasted)
