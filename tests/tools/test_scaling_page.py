"""The page on scaling: its plan counts as its formulae say, and its tables are those of the results beside it."""

from __future__ import annotations

import json

import pytest

from benchmarks.scaling.page import PAGE, RESULTS, fill
from benchmarks.scaling.plan import Assumed, Costs, Load, need
from benchmarks.scaling.tables import tables_of

COSTS = Costs(
    broker=50e-6, queue=10e-6, hop=60e-6, quorum=100e-6, worker=20e-6, client=25e-6,
    client_memory=100e3, worker_memory=200e3,
)  # fmt: skip


def test_a_million_calls_a_second() -> None:
    needed = need(Load("a million", 1e6, workers=40), COSTS, Assumed(busy=0.5, cores=10, nodes=3))
    assert (needed.clients, needed.queues) == (50, 20)
    assert (needed.broker_cores, needed.nodes) == (100, 10)
    assert needed.hopping_nodes == 18, "180 cores, 30 in a cluster of three"
    assert needed.quorum_nodes == 39, "380 cores, 30 in a cluster of three"
    assert needed.memory == pytest.approx(50 * 100e3 + 40 * 200e3)


def test_a_page_without_markers_is_an_error() -> None:
    with pytest.raises(ValueError, match="no markers for 'plan'"):
        fill("# Scaling out\n", {"plan": "| a |"})


def test_the_tables_are_those_of_the_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert fill(page, tables_of(json.loads(RESULTS.read_text(encoding="utf-8")))) == page
