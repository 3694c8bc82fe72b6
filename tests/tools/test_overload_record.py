"""The record of overload runs: a run that measures one part leaves the figures of the others as they were."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from benchmarks.overload import record, runs
from benchmarks.overload.cell import Cell
from benchmarks.overload.criticality import Shared
from benchmarks.overload.figures import figures
from benchmarks.overload.neighbours import Neighbours
from benchmarks.overload.runs import Run

if TYPE_CHECKING:
    from pathlib import Path

FIGURES = figures(
    {"start": 0.0, "due": [2.5], "issued": [2.5], "ended": [2.75], "outcomes": "g", "errors": {}}, [], 4.0
)
TERMS = record.terms(20.0)


def cell(contender: str, load: float) -> Cell:
    return Cell(contender, load, FIGURES, {"client": 0.1, "server": 0.1, "broker": None}, [(0.5, 3)], [])


def run(date: str, *cells: Cell) -> Run:
    return Run({"date": date, "CPU": "a CPU"}, TERMS, list(cells))


def test_what_a_run_does_not_measure_keeps_its_figures(tmp_path: Path) -> None:
    file, page = tmp_path / "results/overload.json", tmp_path / "overload.md"
    page.write_text("before\n<!-- figures of the last run -->\n<!-- end of the figures -->\nafter\n")
    shared = {"alone": [Shared(FIGURES, None)], "with batch calls, in classes": [Shared(FIGURES, FIGURES)]}
    beside = {"alone": Neighbours(FIGURES, [])}
    first = replace(run("2026-01-01"), neighbours=beside)
    record.write(first, file=file, page_file=page)
    record.write(replace(run("2026-01-02"), criticality=shared), file=file, page_file=page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "Measured on 2026-01-02: two classes of one service." in text
    assert "Measured on 2026-01-01: two services on one server." in text
    assert "### Two services on one server" in text
    assert "### Two classes of one service" in text
    assert runs.read(file)[1] == first


def test_a_load_replaces_the_same_load_of_the_same_contender() -> None:
    old = run("2026-01-01", cell("ours", 1.0), cell("ours", 2.0), cell("aio_pika_rpc", 1.0))
    new = run("2026-01-02", cell("ours", 2.0))
    kept = runs.merged([old], new)
    assert [one.parts for one in kept] == [["RabiBridge at 2 x"], ["RabiBridge, aio_pika RPC at 1 x"]]
    assert [(one.contender, one.load) for one in runs.all_cells(kept)] == [
        ("ours", 1.0),
        ("ours", 2.0),
        ("aio_pika_rpc", 1.0),
    ]


def test_a_run_of_which_nothing_is_left_is_forgotten() -> None:
    old, new = run("2026-01-01", cell("ours", 1.0)), run("2026-01-02", cell("ours", 1.0))
    assert runs.merged([old], new) == [new]


def test_figures_under_other_terms_are_not_shown_together() -> None:
    old = replace(run("2026-01-01", cell("ours", 1.0)), terms=TERMS | {"capacity": 50.0})
    new = run("2026-01-02", cell("ours", 2.0))
    assert runs.merged([old], new) == [new]
    longer = replace(old, terms=record.terms(60.0))
    assert runs.merged([longer], new) == [new, longer]


def test_the_committed_results_make_the_committed_page() -> None:
    assert record.page(runs.read(record.RESULTS)) in record.PAGE.read_text()


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "overload.md"
    page.write_text("no markers")
    with pytest.raises(ValueError, match="must contain the lines"):
        record.write(run("2026-01-01"), file=tmp_path / "overload.json", page_file=page)
    assert page.read_text() == "no markers"
