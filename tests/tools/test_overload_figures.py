from __future__ import annotations

import asyncio
from typing import Any

import pytest

from benchmarks.contenders.base import RefusedError
from benchmarks.overload.cell import Cell
from benchmarks.overload.figures import figures, percentiles
from benchmarks.overload.flood import Flood, arrivals
from benchmarks.overload.targets import targets

SECONDS = 4.0
"""Of which the first two do not count."""


def log(*calls: tuple[float, str, float]) -> dict[str, Any]:
    """Return the notes of a client: when each call was due, what became of it, and when."""
    return {
        "start": 1000.0,
        "due": [due for due, _, _ in calls],
        "issued": [due + 0.25 for due, _, _ in calls],
        "ended": [ended for _, _, ended in calls],
        "outcomes": "".join(outcome for _, outcome, _ in calls),
        "errors": {},
    }


def test_what_was_due_in_the_ramp_does_not_count() -> None:
    found = figures(log((1.0, "g", 1.5), (2.0, "g", 2.5), (3.0, "r", 3.1)), [], SECONDS)
    assert (found.seconds, found.offered, found.good, found.refused) == (2.0, 1.0, 0.5, 0.5)
    assert found.latency["p50"] == 0.5


def test_a_result_after_the_timeout_is_late_counted_from_when_it_was_due() -> None:
    found = figures(log((2.0, "g", 3.0), (2.5, "g", 3.75)), [], SECONDS)
    assert (found.good, found.late) == (0.5, 0.5)
    assert found.lateness["p99"] == 0.25


def test_a_call_that_was_not_made_is_offered_all_the_same() -> None:
    found = figures(log((2.0, "g", 2.1), (3.0, "n", 0.0)), [], SECONDS)
    assert (found.offered, found.issued, found.share) == (1.0, 0.5, 0.5)


def test_runs_are_wasted_whose_caller_had_gone() -> None:
    notes = log((1.5, "t", 2.5), (2.5, "g", 2.9), (3.0, "t", 4.0))
    runs = [(0, 1002.1, 1002.2), (1, 1002.6, 1002.8), (2, 1001.9, 1002.3), (2, 1003.5, 1004.5)]
    found = figures(notes, runs, SECONDS)
    assert (found.runs, found.wasted) == (3, 2)
    assert found.bad_news == {"p50": 1.0, "p95": 1.0, "p99": 1.0}


def test_percentiles_are_values_that_occurred() -> None:
    assert percentiles([]) == {}
    assert percentiles(range(1000)) == {"p50": 500, "p95": 950, "p99": 990}


def test_arrivals_are_the_same_each_time_and_as_many_as_asked_for() -> None:
    moments = arrivals(1000, 10, "a")
    assert moments == arrivals(1000, 10, "a") != arrivals(1000, 10, "b")
    assert moments == sorted(moments)
    assert moments[-1] < 10
    assert len(moments) == pytest.approx(10_000, rel=0.05)


async def test_each_call_has_its_outcome() -> None:
    async def call(number: int) -> int:
        match number:
            case 0:
                return 0
            case 1:
                raise RefusedError
            case 2:
                raise ValueError
            case _:
                await asyncio.sleep(60)
                return number

    flood = Flood(call, [0.0, 0.0, 0.0, 0.0, 0.2], limit=0.01)
    await flood.run(0.05, patience=5)
    assert flood.outcomes == b"gretn"
    assert flood.errors == {"builtins.ValueError": 1}


def cell(contender: str, load: float, *calls: tuple[float, str, float]) -> Cell:
    return Cell(contender, load, figures(log(*calls), [], SECONDS), {}, [], [])


def test_targets_are_held_against_the_worst_load_of_ours() -> None:
    cells = [
        cell("ours", 1, (2.0, "g", 2.1), (2.1, "g", 2.2)),
        cell("ours", 2, (2.0, "g", 2.5), (2.1, "r", 2.15)),
        cell("aio_pika_rpc", 1, (2.0, "t", 3.0)),
    ]
    good, latency, refusal, wasted = targets(cells)
    assert (good.measured, good.load, good.reached) == ("50.0%", 2, False)
    assert (latency.measured, latency.load, latency.reached) == ("500 ms", 2, False)
    assert (refusal.measured, refusal.load, refusal.reached) == ("50.0 ms", 2, False)
    assert (wasted.measured, wasted.reached) == ("0.00%", True)
