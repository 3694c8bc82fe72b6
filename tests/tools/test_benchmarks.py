from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from benchmarks import marked
from benchmarks.check import verdict
from benchmarks.compare.figures import ratios
from benchmarks.compare.rounds import Round
from benchmarks.environments import ROOT
from benchmarks.roster import ENTRIES

if TYPE_CHECKING:
    from pathlib import Path

RECORDED = {"median latency, 1 in flight": 3.0, "calls/s, 128 in flight": 12.0}


def _round(rate: float, cpu: float) -> Round:
    return Round(rate=rate, p50=1 / rate, p95=2 / rate, p99=3 / rate, client=cpu, server=cpu, broker=None)


def test_a_ratio_that_holds_or_rises_or_falls_by_a_quarter_passes() -> None:
    assert verdict(RECORDED, {"median latency, 1 in flight": 2.25, "calls/s, 128 in flight": 30.0}) == []


def test_a_ratio_that_falls_by_more_is_named() -> None:
    (fallen,) = verdict(RECORDED, {"median latency, 1 in flight": 3.0, "calls/s, 128 in flight": 6.0})
    assert fallen == "calls/s, 128 in flight: 6 x aio_pika's, 50% below the 12 x recorded"


def test_a_ratio_that_was_not_measured_is_named() -> None:
    (fallen,) = verdict(RECORDED, {"calls/s, 128 in flight": 12.0})
    assert fallen.startswith("median latency, 1 in flight: ")


def test_ratios_are_of_medians_and_above_one_if_we_win() -> None:
    rounds = {
        "ours": {n: [_round(2000, 1e-4), _round(9000, 1e-4), _round(1, 1e-4)] for n in (1, 128)},
        "aio_pika_rpc": {n: [_round(500, 8e-4)] for n in (1, 128)},
    }
    assert ratios(rounds) == {
        "calls/s, 128 in flight": 4.0,
        "median latency, 1 in flight": 4.0,
        "CPU of the client, 128 in flight": 8.0,
        "CPU of the server, 128 in flight": 8.0,
    }


def test_only_what_stands_between_the_markers_of_a_page_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("before\n<!-- compare: begin -->\nold\n<!-- compare: end -->\nafter\n")
    for text in ("new", "newer"):
        marked.write(file, "compare", text)
    assert file.read_text() == "before\n<!-- compare: begin -->\nnewer\n<!-- compare: end -->\nafter\n"


def test_a_page_without_markers_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("figures\n")
    with pytest.raises(ValueError, match="has no markers"):
        marked.write(file, "compare", "new")


@pytest.mark.parametrize("name", [name for name, entry in ENTRIES.items() if entry.home != "c"])
def test_every_contender_has_its_module(name: str) -> None:
    assert (ROOT / f"benchmarks/contenders/{ENTRIES[name].module}.py").exists()


def test_the_parts_can_be_measured() -> None:
    # Each runs once: that it measures what is there today, not how fast that is.
    files = [str(ROOT / f"benchmarks/test_{part}.py") for part in ("fake", "frames", "serializers", "typed_calls")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n0", "--benchmark-disable", "-p", "no:cacheprovider", *files],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
