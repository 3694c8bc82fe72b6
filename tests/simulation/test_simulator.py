"""The simulator itself: it repeats what it does, finds mistakes, and makes failures small."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.hunt import FOUND, PLANTED
from tests.simulation.planted import MISTAKES, planted
from tests.simulation.renew import CASES
from tests.simulation.report import kept, load_case, python, report
from tests.simulation.run import run_plan, run_seed
from tests.simulation.shrink import shrunk

_ROOT = Path(__file__).parents[2]
_CASES = sorted(path for folder in CASES for path in folder.glob("*.json"))
_KEPT = {load_case(path)[0]["mistake"] for path in _CASES}
_SEEDS = 8
_SEARCHED = 2000


def test_a_seed_happens_the_same_way_each_time_whatever_ran_before() -> None:
    first = [run_seed(seed).digest for seed in range(_SEEDS)]
    again = [run_seed(seed).digest for seed in reversed(range(_SEEDS))]
    assert first == again[::-1]
    assert len(set(first)) == _SEEDS


def test_a_seed_happens_the_same_way_in_another_process_with_other_hashes() -> None:
    program = (
        "from tests.simulation.run import run_seed\n"
        f"print(*(run_seed(seed).digest for seed in range({_SEEDS})), sep='\\n')"
    )
    wanted = [run_seed(seed).digest for seed in range(_SEEDS)]
    for hashes in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=_ROOT, env={**os.environ, "PYTHONHASHSEED": hashes}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout.split() == wanted


def test_the_decisions_of_a_run_repeat_it() -> None:
    outcome = run_seed(7)
    assert run_plan(outcome.plan, outcome.decisions).digest == outcome.digest


@pytest.mark.parametrize("name", [name for name in MISTAKES if name not in _KEPT])  # cases show the others
def test_a_planted_mistake_is_found(name: str) -> None:
    seeds = FOUND[name], *range(_SEARCHED)  # a change of the engines may show it by another seed
    with planted(MISTAKES[name]):
        shown = next((seed for seed in seeds if run_seed(seed).violations), None)
    assert shown is not None
    assert not run_seed(shown).violations


def test_a_failure_is_made_small_and_can_be_repeated(tmp_path: Path) -> None:
    name = "a request that is given back is dropped"
    with planted(MISTAKES[name]):
        failed = run_seed(FOUND[name])
        small = shrunk(failed, tries=60)
        assert small.kinds & failed.kinds
        assert len(small.plan.calls) + len(small.plan.faults) < len(failed.plan.calls) + len(failed.plan.faults)
        path = tmp_path / "case.json"
        path.write_text(kept(small, "a test"))
        _, plan, decisions = load_case(path)
        assert run_plan(plan, decisions).digest == small.digest
    assert f"trace {small.digest}" in report(small)


@pytest.mark.parametrize("path", _CASES, ids=lambda path: path.stem)
def test_what_the_simulator_has_found_stays_mended(path: Path) -> None:
    case, plan, decisions = load_case(path)
    outcome = run_plan(plan, decisions)
    assert not outcome.violations, "\n" + report(outcome)
    with planted(PLANTED[plan.broker][case["mistake"]]):  # the case still reaches what it was kept for
        reached = run_plan(plan, decisions).kinds & set(case["kinds"])
    elsewhere = case.get("python", python()) != python()
    assert reached or elsewhere, "it takes another way since the engines were changed: make simulate-cases finds one"
