"""Writes the figures: between the markers of docs/overload.md, as charts, and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from benchmarks.charts import draw
from benchmarks.compare.machine import describe
from benchmarks.environments import ROOT
from benchmarks.overload.lineup import LINEUP
from benchmarks.overload.pictures import charts
from benchmarks.overload.tables import (
    criticality_table,
    detail_table,
    errors_of,
    goodput_table,
    neighbours_table,
    targets_table,
)
from benchmarks.overload.terms import BOUND, CAPACITY, FETCH_SIZE, HANDLER_TIME, QUEUE_SIZE, RAMP, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.overload.cell import Cell
    from benchmarks.overload.criticality import Shared
    from benchmarks.overload.neighbours import Neighbours
    from benchmarks.overload.targets import Target
    from tools.broker import Broker

PAGE = ROOT / "docs/overload.md"
PICTURES = ROOT / "docs/overload"
RESULTS = ROOT / "benchmarks/results/overload.json"
_BEGIN, _END = "<!-- figures of the last run -->", "<!-- end of the figures -->"


def about(broker: Broker, contenders: Sequence[str]) -> dict[str, str]:
    """Return the date, the machine and the versions."""
    return describe(broker, [LINEUP[name].entry.name for name in contenders])


def page(
    told: Mapping[str, str],
    cells: Sequence[Cell],
    beside: Mapping[str, Neighbours],
    shared: Mapping[str, Sequence[Shared]],
    found: Sequence[Target],
) -> str:
    """Return all tables."""
    facts = ", ".join(f"{name} {value}" for name, value in told.items() if name != "date")
    parts = [f"Measured on {told['date']}. {facts}."]
    if found:
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
    return "\n\n".join(parts)


def write(
    told: Mapping[str, str],
    cells: Sequence[Cell],
    beside: Mapping[str, Neighbours],
    shared: Mapping[str, Sequence[Shared]],
    found: Sequence[Target],
    seconds: float,
) -> None:
    """Write the page, the results and the charts.

    Raises:
        ValueError: docs/overload.md has no markers.
        UnavailableError: the charts cannot be drawn.
    """
    before, begin, rest = PAGE.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{PAGE} must contain the lines {_BEGIN} and {_END}")
    PAGE.write_text(f"{before}{begin}\n\n{page(told, cells, beside, shared, found)}\n\n{end}{after}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(_rounded(_results(told, cells, beside, shared, found, seconds)), indent=1) + "\n")
    draw(charts(PICTURES, cells, seconds))


def _results(
    told: Mapping[str, str],
    cells: Sequence[Cell],
    beside: Mapping[str, Neighbours],
    shared: Mapping[str, Sequence[Shared]],
    found: Sequence[Target],
    seconds: float,
) -> dict[str, Any]:
    terms = {
        "capacity": CAPACITY, "fetch_size": FETCH_SIZE, "handler_time": HANDLER_TIME, "timeout": TIMEOUT,
        "queue_size": QUEUE_SIZE, "bound": BOUND, "seconds": seconds, "ramp": RAMP,
    }  # fmt: skip
    return {
        "about": dict(told),
        "terms": terms,
        "targets": [asdict(one) for one in found],
        "cells": [asdict(one) for one in cells],
        "neighbours": {arrangement: asdict(one) for arrangement, one in beside.items()},
        "criticality": {arrangement: [asdict(one) for one in rounds] for arrangement, rounds in shared.items()},
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value
