"""Computes the figures from the records of client and server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.overload.flood import ERROR, NOT_ISSUED, REFUSED, RESULT, TIMED_OUT, UNFINISHED
from benchmarks.overload.terms import CAPACITY, RAMP, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Iterable

Percentiles = dict[str, float]
"""``p50``, ``p95`` and ``p99`` in seconds; empty if there are no values."""


def percentiles(values: Iterable[float]) -> Percentiles:
    """Return the median and the 95th and 99th percentile; each is one of the values."""
    ranked = sorted(values)
    if not ranked:
        return {}
    return {f"p{percent}": ranked[min(len(ranked) * percent // 100, len(ranked) - 1)] for percent in (50, 95, 99)}


@dataclass(frozen=True)
class Figures:
    """The outcome of the calls of one load. Rates are per second; all times are measured from when a call was due."""

    seconds: float
    """Duration of the measurement, without the ramp."""
    offered: float
    issued: float
    good: float
    """Results within the timeout."""
    late: float
    """Results after the timeout."""
    refused: float
    timed_out: float
    unfinished: float
    """Calls without result or error when the client stopped waiting, two timeouts after the end of the load."""
    failed: float
    """Other errors."""
    errors: dict[str, int]
    """Number of errors by class name, over the whole run."""
    latency: Percentiles
    """Time to a result."""
    refusal: Percentiles
    """Time to a refusal."""
    bad_news: Percentiles
    """Time to the end of calls without a result: refused, timed out, failed."""
    lateness: Percentiles
    """Time from when a call was due to when the client made it."""
    runs: int
    """Runs of the handler that started after the ramp and before the last call was due."""
    wasted: int
    """Runs whose caller did not get the result, or got it after the timeout."""
    handler: Percentiles
    """Run time of the handler."""

    @property
    def share(self) -> float:
        """Good results as a share of what is possible: the offered load or the capacity, whichever is less."""
        return self.good / min(self.offered, CAPACITY)

    @property
    def wasted_share(self) -> float:
        """Wasted runs as a share of all runs of the handler; 0 if there were none."""
        return self.wasted / self.runs if self.runs else 0.0


def figures(
    log: dict[str, Any], runs: list[tuple[int, float, float]], seconds: float, timeout: float = TIMEOUT
) -> Figures:
    """Compute the figures of ``seconds`` from the client's record of calls and the server's record of runs.

    A result is good if it came within ``timeout`` seconds from when the call was due.
    """
    due, issued, ended, outcomes = log["due"], log["issued"], log["ended"], log["outcomes"].encode()
    numbers = [number for number, moment in enumerate(due) if moment >= RAMP]
    span = seconds - RAMP

    def took(*what: int) -> list[float]:
        return [ended[number] - due[number] for number in numbers if outcomes[number] in what]

    results = took(RESULT)
    in_time = {n for n, what in enumerate(outcomes) if what == RESULT and ended[n] - due[n] <= timeout}
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
