"""From what client and server noted to figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.overload.flood import ERROR, NOT_ISSUED, REFUSED, RESULT, TIMED_OUT, UNFINISHED
from benchmarks.overload.terms import CAPACITY, RAMP, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterable

Percentiles = dict[str, float]
"""``p50``, ``p95`` and ``p99`` in seconds; empty where there is nothing to count."""


def percentiles(values: Iterable[float]) -> Percentiles:
    """Return the median and the 95th and 99th percentile, each a value that occurred."""
    ranked = sorted(values)
    if not ranked:
        return {}
    return {f"p{percent}": ranked[min(len(ranked) * percent // 100, len(ranked) - 1)] for percent in (50, 95, 99)}


@dataclass(frozen=True)
class Figures:
    """What became of the calls of one load. Rates are per second; all times count from when a call was due."""

    seconds: float
    """How long was measured, without the ramp."""
    offered: float
    issued: float
    good: float
    """Results within the timeout."""
    late: float
    """Results after it."""
    refused: float
    timed_out: float
    unfinished: float
    """Neither result nor error when the client stopped waiting, two timeouts after the end of the load."""
    failed: float
    """Other errors."""
    errors: dict[str, int]
    """Their names, over the whole run."""
    latency: Percentiles
    """Of the calls that got a result."""
    refusal: Percentiles
    """Of the calls that were refused."""
    bad_news: Percentiles
    """Of all calls that ended without a result: refused, timed out, failed."""
    lateness: Percentiles
    """From when a call was due to when the client made it."""
    runs: int
    """Runs of the handler that began after the ramp and before the last call was due."""
    wasted: int
    """Those whose caller did not get the result, or got it after the timeout."""
    handler: Percentiles
    """How long the handler ran."""

    @property
    def share(self) -> float:
        """Good results as a share of what was possible: of the offered load or the capacity, whichever is less."""
        return self.good / min(self.offered, CAPACITY)

    @property
    def wasted_share(self) -> float:
        """Of the runs of the handler; 0 where there was none."""
        return self.wasted / self.runs if self.runs else 0.0


def figures(log: dict[str, Any], runs: list[tuple[int, float, float]], seconds: float) -> Figures:
    """Count what a client noted in ``seconds``, together with the runs that its server noted."""
    due, issued, ended, outcomes = log["due"], log["issued"], log["ended"], log["outcomes"].encode()
    numbers = [number for number, moment in enumerate(due) if moment >= RAMP]
    span = seconds - RAMP

    def took(*what: int) -> list[float]:
        return [ended[number] - due[number] for number in numbers if outcomes[number] in what]

    results = took(RESULT)
    in_time = {n for n, what in enumerate(outcomes) if what == RESULT and ended[n] - due[n] <= TIMEOUT}
    begin, end = log["start"] + RAMP, log["start"] + seconds
    counted = [run for run in runs if begin <= run[1] < end]
    made = [number for number in numbers if outcomes[number] != NOT_ISSUED]
    return Figures(
        seconds=span,
        offered=len(numbers) / span,
        issued=len(made) / span,
        good=(good := sum(number in in_time for number in numbers)) / span,
        late=(len(results) - good) / span,
        refused=len(refusals := took(REFUSED)) / span,
        timed_out=len(took(TIMED_OUT)) / span,
        unfinished=len(took(UNFINISHED)) / span,
        failed=len(took(ERROR)) / span,
        errors=log["errors"],
        latency=percentiles(results),
        refusal=percentiles(refusals),
        bad_news=percentiles(took(REFUSED, TIMED_OUT, ERROR)),
        lateness=percentiles(issued[number] - due[number] for number in made),
        runs=len(counted),
        wasted=sum(number not in in_time for number, _, _ in counted),
        handler=percentiles(ended_at - began for _, began, ended_at in counted),
    )
