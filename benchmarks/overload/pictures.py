"""Draws the figures as charts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.charts import Chart, Series
from benchmarks.overload.deadlines import LOAD
from benchmarks.overload.lineup import LINEUP
from benchmarks.overload.terms import CAPACITY, FACTORS, LONGEST, MAX_WAIT, PHASE, SHORTEST, TIMEOUT
from benchmarks.roster import US

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from benchmarks.overload.cell import Cell
    from benchmarks.overload.deadlines import MixedDeadlines
    from benchmarks.overload.waits import Waits

_DEPTH_AT = 5.0
_STEP = 1.0


def _over_load(cells: Sequence[Cell], value: Callable[[Cell], float | None]) -> tuple[list[float], list[Series]]:
    loads = sorted({cell.load for cell in cells})
    found = {(cell.contender, cell.load): value(cell) for cell in cells}
    series = [
        Series(LINEUP[name].entry.title, [found.get((name, load)) for load in loads], strong=name == US,
               colour=LINEUP[name].colour)
        for name in dict.fromkeys(cell.contender for cell in cells)
    ]  # fmt: skip
    return loads, series


def _over_time(cells: Sequence[Cell], seconds: float) -> tuple[list[float], list[Series]]:
    times = [step * _STEP for step in range(1, int(seconds / _STEP) + 1)]

    def at(cell: Cell, time: float) -> float | None:
        near = min(cell.depth, key=lambda sample: abs(sample[0] - time), default=None)
        return None if near is None or abs(near[0] - time) > _STEP else near[1]

    return times, [
        Series(LINEUP[cell.contender].entry.title, [at(cell, time) for time in times], strong=cell.contender == US,
               colour=LINEUP[cell.contender].colour)
        for cell in cells
    ]  # fmt: skip


def charts(folder: Path, cells: Sequence[Cell], seconds: float) -> dict[Path, Chart]:
    """Return the charts by the file that each is written to."""
    terms = f"capacity {CAPACITY:g} calls/s, timeout {TIMEOUT:g} s, random arrivals"
    loads, good = _over_load(cells, lambda cell: cell.figures.good)
    found = {
        folder / "goodput.svg": Chart(
            "What callers get from a service under overload", "offered load, in multiples of the capacity",
            "good results per second", loads, good, log_x=True, levels={"capacity": CAPACITY}, note=terms,
        )
    }  # fmt: skip
    loads, news = _over_load(cells, lambda cell: cell.figures.bad_news.get("p50", 0) * 1e3 or None)
    found[folder / "refusals.svg"] = Chart(
        "How soon callers learn that they get no result", "offered load, in multiples of the capacity",
        "median time to a refusal or timeout, ms", loads, news, log_x=True, log_y=True,
        levels={"timeout": TIMEOUT * 1e3}, note=terms,
    )  # fmt: skip
    if deep := [cell for cell in cells if cell.load == _DEPTH_AT]:
        times, depth = _over_time(deep, seconds)
        found[folder / "queue.svg"] = Chart(
            f"Calls that wait in the queue at {_DEPTH_AT:g} times the capacity", "seconds since the start", "messages",
            times, depth, note=terms,
        )  # fmt: skip
    return found


def deadline_chart(folder: Path, found: Mapping[str, MixedDeadlines]) -> dict[Path, Chart]:
    """Return the chart of callers with different timeouts, by the file that it is written to."""
    series = []
    for arrangement, colour in zip(found, ("#d1242f", "#57606a"), strict=True):
        one, strong = found[arrangement], colour == "#d1242f"
        series += [
            Series(f"good, {arrangement}", [float(count) for count in one.good], strong=strong, colour=colour),
            Series(f"wasted, {arrangement}", [float(count) for count in one.wasted], colour=colour),
        ]
    times = [float(second + 1) for second in range(len(series[0].y))]
    note = f"{LOAD:g} times the capacity of {CAPACITY:g} calls/s, timeouts from {SHORTEST:g} to {LONGEST:g} s"
    return {
        folder / "deadlines.svg": Chart(
            "Calls that cannot end in time: refused, or run for nothing", "seconds since the start",
            "results and wasted runs per second", times, series, levels={"capacity": CAPACITY}, note=note,
        )
    }  # fmt: skip


def waits_chart(folder: Path, found: Mapping[str, Waits]) -> dict[Path, Chart]:
    """Return the chart of a capacity that changes, by the file that it is written to."""
    series = [
        Series(arrangement, [None if one is None else one * 1e3 for one in each.medians], strong=strong, colour=colour)
        for (arrangement, each), strong, colour in zip(
            found.items(), (True, False), ("#d1242f", "#57606a"), strict=True
        )
    ]
    times = [float(second + 1) for second in range(len(series[0].y))]
    slower = ", ".join(f"{CAPACITY / factor:,.0f}" for factor in FACTORS)
    note = f"{LOAD * CAPACITY:,.0f} calls/s offered; capacity {slower} calls/s, {PHASE:.1f} s each"
    return {
        folder / "waits.svg": Chart(
            "How long calls have waited when they start", "seconds since the start", "median wait, ms", times, series,
            levels={"max_wait": MAX_WAIT * 1e3}, note=note,
        )
    }  # fmt: skip
