"""The table of what modest callers get beside a greedy one."""

from __future__ import annotations

import pytest

from benchmarks.environments import ROOT
from benchmarks.fairness.page import Arrangement, Figures, figures, markdown
from benchmarks.fairness.terms import RAMP, TIMEOUT


def test_a_caller_got_what_came_in_time_after_the_ramp() -> None:
    due = [RAMP - 1, RAMP, RAMP + 1, RAMP + 2]
    log = {"due": due, "ended": [RAMP, RAMP + TIMEOUT / 2, RAMP + 1 + 2 * TIMEOUT, RAMP + 2.1], "outcomes": "gggr"}
    found = figures(log, RAMP + 3)
    assert (found.offered, found.good) == (1.0, 1 / 3)
    assert found.latency["p50"] == pytest.approx(TIMEOUT / 2)


def test_the_table_names_the_modest_caller_that_got_the_least() -> None:
    times = {"p50": 0.1, "p95": 0.2, "p99": 0.3}
    one = Arrangement([Figures(10.0, 9.9, times), Figures(10.0, 9.6, times)], Figures(400.0, 20.0, times), 0.05)
    assert one.worst == 0.96
    assert "| fair | 10.0 | 96.0% | 97.5% | 100 / 200 / 300 | 400 | 20.0 | 39.5 | 0.05 |" in markdown(
        {"fair": one}, "today"
    )


def test_the_page_has_a_place_for_it() -> None:
    text = (ROOT / "docs/overload.md").read_text(encoding="utf-8")
    assert text.index("<!-- fairness: begin -->") < text.index("<!-- fairness: end -->")
