"""The tables of synchronous callers: what they say of rounds that were measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import marked
from benchmarks.environments import ROOT
from benchmarks.synchronous import page
from benchmarks.synchronous.measure import SyncMeasured, SyncRound
from benchmarks.synchronous.roster import CONTENDERS, US

if TYPE_CHECKING:
    from pathlib import Path


def _measured(**rates: float) -> SyncMeasured:
    rounds = {
        name: {1: [SyncRound(rate / 2, 0.002, 0.0001)], 16: [SyncRound(rate, 0.001, 0.0001)]}
        for name, rate in rates.items()
    }
    return SyncMeasured(rounds, {"celery": "5.7.0"}, {})


def test_the_lead_is_over_the_best_of_the_others() -> None:
    measured = _measured(sync_ours=8000.0, sync_kombu=2000.0, sync_nameko=500.0)
    assert page.lead(measured) == 4.0
    text = page.markdown(measured, "2026-01-01", 5, 2.0)
    assert "4.0 times as many calls/s" in text
    assert "is reached" in text
    assert "8,000" in text
    assert "**not reached**" in page.markdown(_measured(sync_ours=3000.0, sync_kombu=2000.0), "2026-01-01", 5, 2.0)
    assert page.lead(_measured(sync_ours=1.0)) is None
    assert page.lead(_measured(sync_kombu=1.0)) is None


def test_who_is_left_out_is_named() -> None:
    measured = _measured(sync_ours=1.0)
    measured.left_out["sync_celery"] = "it cannot be installed\nand more"
    text = page.markdown(measured, "2026-01-01", 5, 2.0)
    assert f"Left out: {CONTENDERS['sync_celery'].title}, it cannot be installed" in text
    assert "and more" not in text


def test_the_page_has_a_place_for_the_tables(tmp_path: Path) -> None:
    copy = tmp_path / "performance.md"
    copy.write_text((ROOT / "docs/performance.md").read_text())
    marked.write(copy, "synchronous", "tables")
    assert "<!-- synchronous: begin -->\ntables\n<!-- synchronous: end -->" in copy.read_text()
    (tmp_path / "none.md").write_text("no markers")
    with pytest.raises(ValueError, match="no markers"):
        marked.write(tmp_path / "none.md", "synchronous", "tables")
    assert US in CONTENDERS
