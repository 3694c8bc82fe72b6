"""Renders the figures as Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.compare.page import table
from benchmarks.overload.criticality import median, slower
from benchmarks.overload.lineup import LINEUP
from benchmarks.overload.terms import CAPACITY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from benchmarks.overload.cell import Cell
    from benchmarks.overload.criticality import Shared
    from benchmarks.overload.deadlines import MixedDeadlines
    from benchmarks.overload.figures import Percentiles
    from benchmarks.overload.neighbours import Neighbours
    from benchmarks.overload.targets import Target
    from benchmarks.overload.waits import Waits

_MIB = 2**20


def _ms(percentiles: Percentiles, *names: str) -> str:
    if not percentiles:
        return "-"
    values = [percentiles[name] * 1e3 for name in names]
    return " / ".join(f"{value:.1f}" if value < 10 else f"{value:,.0f}" for value in values)


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or not value else f"{value:.1f}"


def _cores(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def goodput_table(cells: Sequence[Cell]) -> str:
    """Render good results per second: a row for each contender, a column for each load."""
    loads = sorted({cell.load for cell in cells})
    found = {(cell.contender, cell.load): cell.figures.good for cell in cells}
    names = list(dict.fromkeys(cell.contender for cell in cells))
    header = ["Good results/s at", *(f"{load:g} x ({load * CAPACITY:,.0f}/s)" for load in loads)]
    rows = [
        [LINEUP[name].entry.title, *(_rate(found[name, load]) if (name, load) in found else "-" for load in loads)]
        for name in names
    ]
    return table(header, rows)


def detail_table(cells: Iterable[Cell]) -> str:
    """Render the figures of one contender, a row for each load."""
    header = [
        "Load", "offered/s", "made/s", "good/s", "refused/s", "timed out/s", "other/s", "time to result, ms",
        "time to refusal, ms", "wasted runs", "deepest queue", "broker MiB", "client, server, broker CPU",
    ]  # fmt: skip
    rows = []
    for cell in cells:
        one = cell.figures
        memory = [resident for _, resident in cell.memory]
        rows.append([
            f"{cell.load:g} x", _rate(one.offered), _rate(one.issued), _rate(one.good), _rate(one.refused),
            _rate(one.timed_out), _rate(one.late + one.unfinished + one.failed), _ms(one.latency, "p50", "p95", "p99"),
            _ms(one.refusal, "p50", "p99"), f"{one.wasted_share:.1%}" if one.runs else "-",
            f"{max((depth for _, depth in cell.depth), default=0):,}",
            f"{max(memory) / _MIB:,.0f}" if memory else "-",
            ", ".join(_cores(cell.cpu[who]) for who in ("client", "server", "broker")),
        ])  # fmt: skip
    return table(header, rows)


def errors_of(cells: Iterable[Cell]) -> list[str]:
    """List the errors that were neither refusals nor timeouts."""
    return [
        f"{LINEUP[cell.contender].entry.title} at {cell.load:g} x: "
        + ", ".join(f"{count:,} {name}" for name, count in cell.figures.errors.items())
        for cell in cells
        if cell.figures.errors
    ]


def targets_table(found: Iterable[Target]) -> str:
    """Render the targets."""
    return table(
        ["RabiBridge, at its worst load", "target", "measured", "at", ""],
        [
            [one.text, one.limit, one.measured, f"{one.load:g} x", "reached" if one.reached else "**not reached**"]
            for one in found
        ],
    )


def criticality_table(found: Mapping[str, Sequence[Shared]]) -> str:
    """Render what interactive callers get while batch callers flood the same service."""
    rows = []
    for arrangement, rounds in found.items():
        one = median(rounds)
        rows.append([
            arrangement, _rate(one.interactive.offered), _rate(one.interactive.good), _rate(one.lost),
            _ms(one.interactive.latency, "p50", "p95", "p99"),
            f"{slower(found['alone'], rounds):.2f} x" if one.interactive.latency else "-",
            _rate(one.batch.offered) if one.batch else "-", _rate(one.batch.good) if one.batch else "-",
        ])  # fmt: skip
    header = [
        "Interactive calls", "offered/s", "good/s", "not good/s", "time to result, ms", "p99 against alone",
        "batch offered/s", "batch good/s",
    ]  # fmt: skip
    return table(header, rows)


def neighbours_table(found: Mapping[str, Neighbours]) -> str:
    """Render how one service performs next to another one."""
    rows = []
    for arrangement, one in found.items():
        flooded = one.floods
        rows.append([
            arrangement, _rate(one.calm.good), _rate(one.calm.refused + one.calm.timed_out + one.calm.failed),
            _ms(one.calm.latency, "p50", "p95", "p99"),
            _rate(sum(flood.offered for flood in flooded)) if flooded else "-",
            " + ".join(_rate(flood.good) for flood in flooded) or "-",
        ])  # fmt: skip
    header = [
        "The calm service", "good/s", "not good/s", "time to result, ms", "offered to the other/s",
        "good of the other/s",
    ]  # fmt: skip
    return table(header, rows)


def deadlines_table(found: Mapping[str, MixedDeadlines]) -> str:
    """Render a service whose callers have different timeouts."""
    rows = [
        [
            arrangement, _rate(one.figures.offered), _rate(one.figures.good), _rate(one.figures.refused),
            _rate(one.figures.timed_out), f"{one.figures.wasted_share:.2%}",
            _ms(one.figures.latency, "p50", "p95", "p99"), _ms(one.figures.refusal, "p50", "p99"),
        ]
        for arrangement, one in found.items()
    ]  # fmt: skip
    header = [
        "Calls that cannot end in time are refused", "offered/s", "good/s", "refused/s", "timed out/s", "wasted runs",
        "time to result, ms", "time to refusal, ms",
    ]  # fmt: skip
    return table(header, rows)


def waits_table(found: Mapping[str, Waits]) -> str:
    """Render a service whose capacity changes."""
    rows = [
        [
            arrangement, _rate(one.figures.offered), _rate(one.figures.good), _rate(one.figures.refused),
            _ms(one.wait, "p50", "p95", "p99"), _ms(one.figures.refusal, "p50", "p99"),
        ]
        for arrangement, one in found.items()
    ]  # fmt: skip
    header = ["A capacity that changes", "offered/s", "good/s", "refused/s", "wait, ms", "time to refusal, ms"]
    return table(header, rows)
