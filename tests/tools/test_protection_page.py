"""The page of what protection costs: its tables, and the markers between which they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import marked
from benchmarks.environments import ROOT
from benchmarks.protection import page
from benchmarks.protection.measure import WAYS, Turn

if TYPE_CHECKING:
    from pathlib import Path


def test_each_way_stands_beside_plain(tmp_path: Path) -> None:
    turns = {
        way: [Turn(1e-5 * (number + 1), 2e-5 * (number + 1), 3e-5 * (number + 1))] * 3
        for number, way in enumerate(WAYS)
    }
    text = page.markdown({16: turns}, "2026-11-29", 3)
    assert "| plain | 10.0 | 20.0 | 30.0 |" in text
    assert "| HMAC-SHA256 | 30.0 (+20.0, +200.0%) | 60.0 (+40.0, +200.0%) | 90.0 (+60.0, +200.0%) |" in text
    copy = tmp_path / "performance.md"
    copy.write_text((ROOT / "docs/performance.md").read_text())
    marked.write(copy, "protection", "tables")
    marked.write(copy, "tracing", "traced")
    assert "<!-- tracing: begin -->\ntraced\n<!-- tracing: end -->" in copy.read_text()
    assert "<!-- protection: begin -->\ntables\n<!-- protection: end -->" in copy.read_text()
