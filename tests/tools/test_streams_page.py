"""The tables of streams: what they say of rounds that were measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import marked
from benchmarks.environments import ROOT
from benchmarks.streams import page
from benchmarks.streams.measure import StreamMeasured, StreamRound
from benchmarks.streams.roster import CONTENDERS, GRPC, LIMIT, US

if TYPE_CHECKING:
    from pathlib import Path


def _measured(*, items: float = 120_000.0, mib: float = 300.0, first: float = 0.0011) -> StreamMeasured:
    ours = StreamRound(items=items, cpu=5e-6, mib=mib, first=first, call=0.001)
    theirs = StreamRound(items=10_000.0, cpu=9e-5, mib=100.0, first=0.001, call=0.001)
    return StreamMeasured({US: [ours], GRPC: [theirs]}, {"grpcio": "1.0"}, {})


def test_every_target_is_judged() -> None:
    reached = page.targets(_measured())
    assert len(reached) == 3
    assert all("is reached" in sentence for sentence in reached), reached
    missed = page.targets(_measured(items=119_000.0, mib=299.0, first=0.0013))
    assert all("is **not reached**" in sentence for sentence in missed), missed
    assert "120,000" in page.markdown(_measured(), "2026-01-01", 5, 2.0)


def test_the_target_of_large_items_is_the_lesser_of_two() -> None:
    measured = _measured(mib=501.0)
    measured.rounds[GRPC][0] = StreamRound(items=1.0, cpu=1.0, mib=400.0, first=1.0, call=1.0)
    assert "500 MiB/s" in page.targets(measured)[2]
    assert "is reached" in page.targets(measured)[2]


def test_nothing_is_judged_without_the_others() -> None:
    measured = _measured()
    del measured.rounds[GRPC]
    assert len(page.targets(measured)) == 1
    assert page.targets(StreamMeasured({}, {}, {})) == []


def test_who_is_left_out_is_named() -> None:
    measured = _measured()
    measured.left_out["stream_nats"] = "it cannot be installed\nand more"
    text = page.markdown(measured, "2026-01-01", 5, 2.0)
    assert f"Left out: {CONTENDERS['stream_nats'].title}, it cannot be installed" in text
    assert "and more" not in text


def test_a_contender_that_only_transfers_bytes_has_one_figure() -> None:
    measured = _measured()
    measured.rounds[LIMIT] = [StreamRound(mib=600.0)]
    text = page.markdown(measured, "2026-01-01", 5, 2.0)
    assert f"| {CONTENDERS[LIMIT].title} | - | - | 600 | - | - |" in text
    assert "0.50 times the practical limit" in text


def test_the_page_has_a_place_for_the_tables(tmp_path: Path) -> None:
    copy = tmp_path / "performance.md"
    copy.write_text((ROOT / "docs/performance.md").read_text())
    marked.write(copy, "streams", "tables")
    assert "<!-- streams: begin -->\ntables\n<!-- streams: end -->" in copy.read_text()
    (tmp_path / "none.md").write_text("no markers")
    with pytest.raises(ValueError, match="no markers"):
        marked.write(tmp_path / "none.md", "streams", "tables")
