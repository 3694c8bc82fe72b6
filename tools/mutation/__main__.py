"""``python -m tools.mutation [MODULE ...]``: run the mutants, and print a table of what has noticed them."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tools.mutation.argued import ARGUED
from tools.mutation.checking import Checked, Checking, path_of
from tools.mutation.modules import MODULES, ROOT, TEST_FILES
from tools.mutation.mutants import Mutant, mutants_of

if TYPE_CHECKING:
    from collections.abc import Callable

_LEFT = {"survived", "not run"}
_OUTCOMES = ("simulator", "tests", "timed out", "argued", "survived", "not run")
_REACH = "the file that keeps which lines each test and seed reaches: remove it once tests or the code have changed"
_PYTEST = ("-q", "-n0", "-p", "no:benchmark", "-p", "no:cacheprovider", "-o", "timeout=0", "--no-header")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the status is 1 where a mutant has survived that is not argued away."""
    parser = argparse.ArgumentParser(prog="python -m tools.mutation", description=__doc__)
    parser.add_argument("modules", nargs="*", help="such as _client.call_table; none: all of tools/mutation/modules.py")
    parser.add_argument("--number", type=int, help="only so many mutants of each module, drawn at random")
    parser.add_argument("--seeds", type=int, default=40, help="seeds for each mutant")
    parser.add_argument("--tried", type=int, default=400, help="how many seeds are tried for which lines they reach")
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds of tests for each mutant")
    parser.add_argument("--minutes", type=float, default=1e6, help="start no mutant after so many minutes")
    parser.add_argument("--again", action="store_true", help="only those that nothing has noticed yet")
    parser.add_argument("--survived", action="store_true", help="only those that were left, such as with more seeds")
    parser.add_argument("--only", nargs="*", default=[""], help="those that hold one of these, such as a function")
    parser.add_argument("--tests", nargs="*", default=TEST_FILES, help="the files of tests that may notice them")
    parser.add_argument("--reach", type=Path, default=ROOT / "build/mutation-reach.json", help=_REACH)
    parser.add_argument("--results", type=Path, default=ROOT / "build/mutants.json", help="where they are kept")
    parser.add_argument("--table", action="store_true", help="print the table of what was kept, and run nothing")
    given = parser.parse_args(arguments)
    modules = given.modules or list(MODULES)
    if unknown := [module for module in modules if not path_of(module).exists()]:
        parser.error(f"no such module of rabibridge_core: {', '.join(unknown)}")
    results = _read(given.results)
    status = 0
    if not given.table:
        drawn = {module: _drawn(module, given.number) for module in modules}

        def wanted(module: str, mutant: Mutant) -> bool:
            before = results.get((module, mutant.text))
            outcome = "" if before is None else before.outcome
            if (given.survived and outcome not in _LEFT) or (given.again and outcome not in {"", *_LEFT}):
                return False
            return mutant.number in drawn[module] and any(text in mutant.text for text in given.only)

        status = _run(modules, partial(_report, results, given.results), given, wanted)
    print(_table(list(results.values()), modules))
    left = [one for one in results.values() if one.outcome == "survived" and one.module in modules]
    for one in left:
        print(f"survived: {one.module}:{one.line} {one.change}")
    return status or (1 if left else 0)


def _run(
    modules: list[str], report: partial[None], given: argparse.Namespace, wanted: Callable[[str, Mutant], bool]
) -> int:
    files = [str(path) for pattern in given.tests for path in sorted(ROOT.glob(pattern))]
    checking = Checking(
        modules, seeds=given.seeds, tried=given.tried, seconds=given.seconds, until=time.time() + given.minutes * 60,
        wanted=wanted, report=report, kept=given.reach,
    )  # fmt: skip
    return int(pytest.main([*_PYTEST, f"--rootdir={ROOT}", *files], plugins=[checking]))


def _drawn(module: str, number: int | None) -> set[int]:
    numbers = range(len(mutants_of(path_of(module).read_text("utf-8"))))
    return set(numbers if number is None or number >= len(numbers) else random.Random(module).sample(numbers, number))


def _read(path: Path) -> dict[tuple[str, str], Checked]:
    if not path.exists():
        return {}
    checked = [Checked(**one) for one in json.loads(path.read_text("utf-8"))]
    return {(one.module, one.change): one for one in checked}


def _report(results: dict[tuple[str, str], Checked], path: Path, checked: Checked) -> None:
    if checked.outcome == "survived" and (why := ARGUED.get(f"{checked.module}:{checked.change}")):
        checked.outcome, checked.by = "argued", why
    results[checked.module, checked.change] = checked
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(one) for one in results.values()], indent=1) + "\n", "utf-8")
    print(f"{checked.outcome:10} {checked.module}:{checked.line} {checked.change}  [{checked.by}]", flush=True)


def _table(results: list[Checked], modules: list[str]) -> str:
    lines = ["| module | mutants | simulator | tests | timed out | argued away | survived | not run |"]
    lines.append("|---" * 8 + "|")
    counted = {module: Counter(one.outcome for one in results if one.module == module) for module in modules}
    rows = [(f"`{module}`", counts) for module, counts in counted.items() if counts]
    rows.append(("all", sum((counts for _, counts in rows), Counter[str]())))
    for name, counts in rows:
        numbers = " | ".join(str(counts[outcome]) for outcome in _OUTCOMES)
        lines.append(f"| {name} | {counts.total()} | {numbers} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
