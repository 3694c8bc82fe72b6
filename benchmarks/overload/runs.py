"""Runs, each of which measured some of the figures: a later run replaces what it has measured itself, and no more."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from benchmarks.overload.cell import Cell  # noqa: TC001 - pydantic reads the annotations
from benchmarks.overload.criticality import Shared  # noqa: TC001 - pydantic reads the annotations
from benchmarks.overload.deadlines import MixedDeadlines  # noqa: TC001 - pydantic reads the annotations
from benchmarks.overload.lineup import LINEUP
from benchmarks.overload.neighbours import Neighbours  # noqa: TC001 - pydantic reads the annotations
from benchmarks.overload.waits import Waits  # noqa: TC001 - pydantic reads the annotations

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Run", "all_cells", "merged", "read", "write"]

_OF_EACH_RUN = "seconds"
"""The one term that may differ between runs whose figures are shown together."""


@dataclass(frozen=True)
class Run:
    """What one run has measured, or what later ones have left of it.

    Attributes:
        about: the date, the machine and the versions.
        terms: what was offered to which service.
        cells: one contender under one load each.
        neighbours: two services on one server, by arrangement.
        criticality: two classes of one service: the rounds, by arrangement.
        deadlines: callers with different timeouts, by arrangement.
        waits: a capacity that changes, by arrangement.
    """

    about: dict[str, str]
    terms: dict[str, float]
    cells: list[Cell] = field(default_factory=list)
    neighbours: dict[str, Neighbours] = field(default_factory=dict)
    criticality: dict[str, list[Shared]] = field(default_factory=dict)
    deadlines: dict[str, MixedDeadlines] = field(default_factory=dict)
    waits: dict[str, Waits] = field(default_factory=dict)

    @property
    def parts(self) -> list[str]:
        """What it has measured, in words."""
        loads: dict[str, list[str]] = {}
        for cell in self.cells:
            loads.setdefault(LINEUP[cell.contender].entry.title, []).append(f"{cell.load:g}")
        titles: dict[str, list[str]] = {}
        for title, known in loads.items():
            titles.setdefault(", ".join(known), []).append(title)
        found = [f"{', '.join(named)} at {known} x" for known, named in titles.items()]
        found += ["two services on one server"] if self.neighbours else []
        found += ["two classes of one service"] if self.criticality else []
        found += ["callers with different timeouts"] if self.deadlines else []
        return found + (["a capacity that changes"] if self.waits else [])


_ADAPTER = TypeAdapter(list[Run])


def merged(earlier: Sequence[Run], run: Run) -> list[Run]:
    """Return the runs with a new one in front, and what it has not measured of those before.

    What was measured under other terms is dropped: it could not be compared.
    """
    measured = {(cell.contender, cell.load) for cell in run.cells}
    kept = [run]
    for one in earlier:
        if _comparable(one) != _comparable(run):
            continue
        left = replace(
            one,
            cells=[cell for cell in one.cells if (cell.contender, cell.load) not in measured],
            neighbours={} if run.neighbours else one.neighbours,
            criticality={} if run.criticality else one.criticality,
            deadlines={} if run.deadlines else one.deadlines,
            waits={} if run.waits else one.waits,
        )
        if left.parts:
            kept.append(left)
    return kept


def _comparable(run: Run) -> dict[str, float]:
    return {name: value for name, value in run.terms.items() if name != _OF_EACH_RUN}


def all_cells(runs: Sequence[Run]) -> list[Cell]:
    """Return the cells of all runs, in the order of the tables."""
    names = list(LINEUP)
    return sorted(
        (cell for run in runs for cell in run.cells), key=lambda cell: (names.index(cell.contender), cell.load)
    )


def read(path: Path) -> list[Run]:
    """Return the runs that a file holds; none if there is no such file.

    Raises:
        ValueError: it holds something else.
    """
    return _ADAPTER.validate_python(json.loads(path.read_text())["runs"]) if path.exists() else []


def write(path: Path, runs: Sequence[Run], targets: Sequence[Any]) -> None:
    """Write the runs, and the targets that were compared with them."""
    path.parent.mkdir(exist_ok=True)
    known = {"targets": [asdict(one) for one in targets], "runs": [asdict(run) for run in runs]}
    path.write_text(json.dumps(_rounded(known), indent=1) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value
