"""Writes the figures: between the markers of docs/overload.md, as charts, and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.charts import draw
from benchmarks.compare.machine import describe
from benchmarks.environments import ROOT
from benchmarks.overload import runs as runs_file
from benchmarks.overload.lineup import LINEUP
from benchmarks.overload.pictures import charts, deadline_chart, waits_chart
from benchmarks.overload.runs import Run, all_cells, merged
from benchmarks.overload.tables import (
    criticality_table,
    deadlines_table,
    detail_table,
    errors_of,
    goodput_table,
    neighbours_table,
    targets_table,
    waits_table,
)
from benchmarks.overload.targets import targets
from benchmarks.overload.terms import BOUND, CAPACITY, FETCH_SIZE, HANDLER_TIME, QUEUE_SIZE, RAMP, TIMEOUT
from benchmarks.roster import US

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tools.broker import Broker

PAGE = ROOT / "docs/overload.md"
PICTURES = ROOT / "docs/overload"
RESULTS = ROOT / "benchmarks/results/overload.json"
_BEGIN, _END = "<!-- figures of the last run -->", "<!-- end of the figures -->"


def about(broker: Broker, contenders: Sequence[str]) -> dict[str, str]:
    """Return the date, the machine, and the versions of these contenders and of RabiBridge."""
    return describe(broker, list(dict.fromkeys([US, *(LINEUP[name].entry.name for name in contenders)])))


def terms(seconds: float) -> dict[str, float]:
    """Return what is offered to which service in a run with loads of ``seconds``."""
    return {
        "capacity": CAPACITY, "fetch_size": FETCH_SIZE, "handler_time": HANDLER_TIME, "timeout": TIMEOUT,
        "queue_size": QUEUE_SIZE, "bound": BOUND, "seconds": seconds, "ramp": RAMP,
    }  # fmt: skip


def page(runs: Sequence[Run]) -> str:
    """Return all tables; they say when each part was measured."""
    cells = all_cells(runs)
    beside = next((run.neighbours for run in runs if run.neighbours), {})
    shared = next((run.criticality for run in runs if run.criticality), {})
    mixed = next((run.deadlines for run in runs if run.deadlines), {})
    waits = next((run.waits for run in runs if run.waits), {})
    parts = [_measured(run, alone=len(runs) == 1) for run in runs]
    if found := targets(cells, shared, mixed, waits):
        parts += ["### Targets", targets_table(found)]
    if cells:
        parts += ["### Good results", goodput_table(cells)]
    for name in dict.fromkeys(cell.contender for cell in cells):
        parts += [f"### {LINEUP[name].entry.title}", detail_table([cell for cell in cells if cell.contender == name])]
    if errors := errors_of(cells):
        parts.append("Errors that were neither refusals nor timeouts: " + "; ".join(errors) + ".")
    if beside:
        parts += ["### Two services on one server", neighbours_table(beside)]
    if shared:
        parts += ["### Two classes of one service", criticality_table(shared)]
    if mixed:
        parts += ["### Callers with different timeouts", deadlines_table(mixed)]
    if waits:
        parts += ["### A capacity that changes", waits_table(waits)]
    return "\n\n".join(parts)


def _measured(run: Run, *, alone: bool) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in run.about.items() if name != "date")
    what = "" if alone else f": {'; '.join(run.parts)}"
    return f"Measured on {run.about['date']}{what}. {facts}."


def write(run: Run, *, file: Path = RESULTS, page_file: Path = PAGE) -> None:
    """Write the page and the results, with what the run has not measured of those before, and the charts.

    Raises:
        ValueError: the page has no markers, or the file of the results holds something else.
        UnavailableError: the charts cannot be drawn.
    """
    runs = merged(runs_file.read(file), run)
    before, begin, rest = page_file.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{page_file} must contain the lines {_BEGIN} and {_END}")
    page_file.write_text(f"{before}{begin}\n\n{page(runs)}\n\n{end}{after}")
    shared = next((one.criticality for one in runs if one.criticality), {})
    mixed = next((one.deadlines for one in runs if one.deadlines), {})
    waits = next((one.waits for one in runs if one.waits), {})
    cells = all_cells(runs)
    runs_file.write(file, runs, targets(cells, shared, mixed, waits))
    if run.cells:
        draw(charts(PICTURES, cells, max(one.terms["seconds"] for one in runs if one.cells)))
    if run.deadlines:
        draw(deadline_chart(PICTURES, run.deadlines))
    if run.waits:
        draw(waits_chart(PICTURES, run.waits))
