"""The table of what modest callers get beside a greedy one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.fairness.terms import RAMP, TIMEOUT
from benchmarks.overload.figures import Percentiles, percentiles
from benchmarks.overload.flood import RESULT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LIMIT = 0.95
"""Which share of its calls each modest caller is to get."""


@dataclass(frozen=True)
class Figures:
    """What one caller got: calls and results in time per second, and the time to a result, from when a call was due."""

    offered: float
    good: float
    latency: Percentiles


def figures(log: Mapping[str, Any], seconds: float) -> Figures:
    """Compute the figures of a caller from its record of a load of so many seconds."""
    calls = [
        (what == RESULT, ended - due)
        for due, ended, what in zip(log["due"], log["ended"], log["outcomes"].encode(), strict=True)
        if due >= RAMP
    ]
    took = [time for succeeded, time in calls if succeeded and time <= TIMEOUT]
    span = seconds - RAMP
    return Figures(len(calls) / span, len(took) / span, percentiles(took))


@dataclass(frozen=True)
class Arrangement:
    """The figures of the callers of one service, and the CPU of its worker, in cores."""

    modest: Sequence[Figures]
    greedy: Figures
    cpu: float

    @property
    def worst(self) -> float:
        """The share of its calls that got a result in time, of the modest caller that got the least."""
        return min(one.good / one.offered for one in self.modest)

    @property
    def good(self) -> float:
        """Good results of all callers, per second."""
        return self.greedy.good + sum(one.good for one in self.modest)


def markdown(found: Mapping[str, Arrangement], date: str) -> str:
    """Return the table, with the target."""
    lines = [
        f"Measured on {date}. Target: each modest caller gets at least {LIMIT:.0%} of its calls.",
        "",
        "| | nine modest callers: offered/s each | the worst of them gets | all of them get | "
        "time to result of the slowest of them, ms | "
        "greedy: offered/s | good/s | all good/s | worker CPU |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, one in found.items():
        offered = sum(each.offered for each in one.modest)
        good = sum(each.good for each in one.modest)
        slowest = max(one.modest, key=lambda each: each.latency.get("p99", 0.0)).latency
        times = " / ".join(f"{slowest[key] * 1e3:.0f}" for key in ("p50", "p95", "p99")) if slowest else "-"
        lines.append(
            f"| {name} | {offered / len(one.modest):.1f} | {one.worst:.1%} | {good / offered:.1%} | {times} | "
            f"{one.greedy.offered:.0f} | {one.greedy.good:.1f} | {one.good:.1f} | {one.cpu:.2f} |"
        )
    return "\n".join(lines)
