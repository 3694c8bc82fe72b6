"""The simulation of bytes itself: it repeats what it does, and finds mistakes of the transport."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.amqp.plan import FAULTS, draw_amqp_plan
from tests.simulation.amqp.planted import AMQP_MISTAKES
from tests.simulation.hunt import AMQP_FOUND
from tests.simulation.planted import planted
from tests.simulation.report import load_case, report
from tests.simulation.run import run_plan, run_seed

_ROOT = Path(__file__).parents[3]
_KEPT = {load_case(path)[0]["mistake"] for path in (Path(__file__).parent / "cases").glob("*.json")}
_SEEDS = 6
_SEARCHED = 200
_CLOSED_TWICE = 189
"""Whose broker answers a ``channel.close`` after more than a heartbeat interval: aiormq then sent another."""


def test_a_seed_happens_the_same_way_each_time_whatever_ran_before() -> None:
    first = [run_seed(seed, broker="amqp").digest for seed in range(_SEEDS)]
    again = [run_seed(seed, broker="amqp").digest for seed in reversed(range(_SEEDS))]
    assert first == again[::-1]
    assert len(set(first)) == _SEEDS


def test_a_seed_happens_the_same_way_in_another_process_with_other_hashes() -> None:
    program = (
        "from tests.simulation.run import run_seed\n"
        f"print(*(run_seed(seed, broker='amqp').digest for seed in range({_SEEDS})), sep='\\n')"
    )
    wanted = [run_seed(seed, broker="amqp").digest for seed in range(_SEEDS)]
    for hashes in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=_ROOT, env={**os.environ, "PYTHONHASHSEED": hashes}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.split() == wanted


def test_the_decisions_of_a_run_repeat_it() -> None:
    outcome = run_seed(7, broker="amqp")
    assert run_plan(outcome.plan, outcome.decisions).digest == outcome.digest


@pytest.mark.parametrize("name", [name for name in AMQP_MISTAKES if name not in _KEPT])  # cases show the others
def test_a_planted_mistake_is_found(name: str) -> None:
    seeds = AMQP_FOUND[name], *range(_SEARCHED)  # a change of the engines may show it by another seed
    with planted(AMQP_MISTAKES[name]):
        shown = next((seed for seed in seeds if run_seed(seed, broker="amqp").violations), None)
    assert shown is not None
    assert not run_seed(shown, broker="amqp").violations


def test_a_channel_is_closed_once() -> None:
    outcome = run_seed(_CLOSED_TWICE, broker="amqp")
    assert not outcome.violations, "\n" + report(outcome)


def test_every_fault_is_drawn() -> None:
    faults = {fault.kind for seed in range(300) for fault in draw_amqp_plan(seed).faults}
    assert faults == set(FAULTS)
