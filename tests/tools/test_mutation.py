"""The mutation check: which changes it makes, and that they are noticed or not."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from itertools import chain
from typing import TYPE_CHECKING, Any

import pytest

from tools.mutation import changed_code, functions_of, mutants_of, replace_code
from tools.mutation.argued import ARGUED
from tools.mutation.checking import path_of
from tools.mutation.modules import MODULES, ROOT, TEST_FILES
from tools.mutation.reach import lines_run

if TYPE_CHECKING:
    from pathlib import Path

_SOURCE = '''
class Door:
    """A door."""

    limit = 3

    def __init__(self):
        self.inside = 0

    def enter(self, sure=True):
        if sure and self.inside < self.limit:
            self.inside += 1
            return True
        return False

    def all(self):
        def several():
            while True:
                if not self.enter():
                    break
        several()
        return self.inside
'''


@pytest.fixture
def door(tmp_path: Path) -> Any:
    path = tmp_path / "door.py"
    path.write_text(_SOURCE, "utf-8")
    module = types.ModuleType("door")
    exec(compile(_SOURCE, str(path), "exec", dont_inherit=True), vars(module))
    vars(module)["path"] = str(path)
    return module


def test_each_change_is_made_alone() -> None:
    changes = [mutant.text for mutant in mutants_of(_SOURCE)]
    assert changes == [
        "Door.__init__: 0 -> 1",
        "Door.enter: sure and self.inside < self.limit -> sure or self.inside < self.limit",
        "Door.enter: sure and self.inside < self.limit -> not (sure and self.inside < self.limit)",
        "Door.enter: self.inside < self.limit -> self.inside <= self.limit",
        "Door.enter: self.inside < self.limit -> self.inside >= self.limit",
        "Door.enter: self.inside += 1 -> pass",
        "Door.enter: self.inside += 1 -> self.inside -= 1",
        "Door.enter: 1 -> 2",
        "Door.enter: True -> False",
        "Door.enter: False -> True",
        "Door.all.<locals>.several: True -> False",
        "Door.all.<locals>.several: not self.enter() -> self.enter()",
        "Door.all.<locals>.several: break -> continue",
        "Door.all: several() -> pass",
        "Door.all: return self.inside -> return None",
    ]
    assert [mutant.number for mutant in mutants_of(_SOURCE)] == list(range(len(changes)))


def test_functions_get_the_changed_code_in_place(door: Any) -> None:
    kept, enter = door.Door(), door.Door().enter  # whoever holds them holds the mutant
    functions = functions_of([door.path])[door.path]
    assert replace_code(functions, changed_code(_SOURCE, door.path, None)) == 0
    boundary = next(mutant for mutant in mutants_of(_SOURCE) if "<=" in mutant.new)
    assert replace_code(functions, changed_code(_SOURCE, door.path, boundary.number)) == 1
    assert [enter() for _ in range(5)] == [True] * 4 + [False]
    inner = next(mutant for mutant in mutants_of(_SOURCE) if mutant.text.endswith("several: True -> False"))
    replace_code(functions, changed_code(_SOURCE, door.path, inner.number))
    assert kept.all() == 0


def test_the_lines_that_run_are_known(door: Any) -> None:
    lines = _SOURCE.splitlines()
    with lines_run(frozenset([door.path])) as run:
        door.Door().enter(sure=False)
    ran = [lines[line - 1].strip() for line in sorted(run[door.path])]
    assert "return False" in ran
    assert "return True" not in ran


def test_what_the_lists_name_exists() -> None:
    for module in MODULES:
        assert path_of(module).exists()
    for pattern in TEST_FILES:
        assert list(ROOT.glob(pattern)), pattern


def test_what_is_argued_away_still_stands_in_the_source() -> None:
    known = {
        f"{module}:{mutant.text}" for module in MODULES for mutant in mutants_of(path_of(module).read_text("utf-8"))
    }
    assert set(ARGUED) <= known
    assert all(ARGUED.values())


def test_mutants_are_noticed_by_seeds_and_by_tests(tmp_path: Path) -> None:
    results = tmp_path / "mutants.json"
    options = {
        "--only": "DeadlineWheel.clear", "--tests": "tests/unit/test_deadlines.py", "--tried": "3",
        "--results": str(results), "--reach": str(tmp_path / "reach.json"),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "tools.mutation", "_concurrency.deadlines", *chain.from_iterable(options.items())],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert results.exists(), done.stdout + done.stderr
    outcomes = {one["change"]: one["outcome"] for one in json.loads(results.read_text("utf-8"))}
    assert outcomes == {
        "DeadlineWheel.clear: timer.cancel() -> pass": "simulator",
        "DeadlineWheel.clear: self._timers.clear() -> pass": "argued",
        "DeadlineWheel.clear: self._slots.clear() -> pass": "tests",
        "DeadlineWheel.clear: self._forget_last() -> pass": "tests",
    }
    assert "| `_concurrency.deadlines` | 4 | 1 | 2 | 0 | 1 | 0 | 0 |" in done.stdout
    assert done.returncode == 0
