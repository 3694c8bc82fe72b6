"""A plug-in of pytest that runs mutants in the place of the tests that were collected."""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, NoReturn

from _pytest.runner import runtestprotocol

from rabibridge_core._hosting.parent_death import die_with_parent
from tools.mutation.modules import CORE
from tools.mutation.mutants import Mutant, changed_code, mutants_of
from tools.mutation.reach import Reach, lines_run
from tools.mutation.replacing import Functions, functions_of, replace_code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pytest

__all__ = ["Checked", "Checking", "path_of"]

_SLOWEST = 4.0
"""A test that takes longer than this many seconds is left out."""
_PATIENCE = 15.0
"""After so many seconds without progress, a mutant counts as timed out."""


@dataclass
class Checked:
    """What came of a mutant.

    Attributes:
        module: the module that it changes.
        line: the line.
        change: the function, what stands there, and what the mutant has instead.
        outcome: ``simulator`` or ``tests`` have noticed it; ``timed out``; ``survived``; ``not run``, since nothing
            reaches it.
        by: what has noticed it.
    """

    module: str
    line: int
    change: str
    outcome: str
    by: str


def path_of(module: str) -> Path:
    """Return the file of a module of ``rabibridge_core``."""
    return CORE.joinpath(*module.split(".")).with_suffix(".py")


class Checking:
    """The plug-in.

    Args:
        modules: those to change.
        seeds: how many seeds are run at most for a mutant.
        tried: how many seeds they are taken from.
        seconds: how many seconds of tests are run at most.
        until: when to stop, as ``time.time()`` counts.
        wanted: the changes to look at.
        report: called with each result.
        kept: a file that keeps which lines the tests and seeds reach.
    """

    def __init__(
        self, modules: list[str], *, seeds: int, tried: int, seconds: float, until: float,
        wanted: Callable[[str, Mutant], bool], report: Callable[[Checked], None], kept: Path,
    ) -> None:  # fmt: skip
        self._modules = modules
        self._seeds = seeds
        self._tried = tried
        self._seconds = seconds
        self._until = until
        self._wanted = wanted
        self._report = report
        self._kept = kept
        self._functions: dict[str, Functions] = {}
        self._items: dict[str, pytest.Item] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        import tests.simulation.run  # noqa: F401 - children find it imported

        if session.testsfailed:
            raise session.Interrupted("the tests could not be collected")
        paths = {str(path_of(module)): module for module in self._modules}
        self._functions = functions_of(paths)
        self._items = {item.nodeid: item for item in session.items if item.get_closest_marker("rabbitmq") is None}
        gc.collect()
        gc.freeze()
        reached = self._reached(frozenset(paths))
        for path, module in paths.items():
            for mutant in mutants_of(path_of(module).read_text("utf-8")):
                if self._wanted(module, mutant) and time.time() < self._until:
                    self._report(self._check(module, path, mutant, reached))
        return True

    def _check(self, module: str, path: str, mutant: Mutant, reached: list[Reach]) -> Checked:
        covering = [one for one in reached if one.covers(path, mutant.line)]
        seeds = [int(one.name) for one in covering if one.name.isdecimal()][: self._seeds]
        tests, seconds = [], 0.0
        for test in sorted((one for one in covering if not one.name.isdecimal()), key=lambda one: one.seconds):
            seconds += test.seconds + 0.01
            if seconds > self._seconds:
                break
            tests.append(self._items[test.name])
        outcome, by = "not run", ""
        if seeds or tests:
            code = changed_code(path_of(module).read_text("utf-8"), path, mutant.number)

            def child(tell: Callable[[str], None]) -> None:
                if not replace_code(self._functions[path], code):
                    tell("end not run")
                    return
                _run_seeds(seeds, tell)
                _run_tests(tests, tell)
                tell("end survived")

            outcome, _, by = _in_child(child).partition(" by ")
        return Checked(module, mutant.line, mutant.text, outcome, by)

    def _reached(self, paths: frozenset[str]) -> list[Reach]:
        """Return what each seed and test reaches; what is in the file that was kept is not run again."""
        reached = self._read_kept(paths)
        known = {one.name for one in reached}
        seeds = [seed for seed in range(self._tried) if str(seed) not in known]
        items = [item for name, item in self._items.items() if name not in known]

        def child(tell: Callable[[str], None]) -> None:
            with self._kept.open("a", encoding="utf-8") as file:
                for one in chain(_reach_of_seeds(seeds, paths), _reach_of_tests(items, paths, tell)):
                    file.write(json.dumps(one) + "\n")
                    file.flush()
            tell("end done")

        if seeds or items:
            if (ended := _in_child(child, patience=240.0)) != "done":
                raise RuntimeError(f"the tests do not pass as they are: {ended}")
            reached = self._read_kept(paths)
        return [
            one
            for one in reached
            if (int(one.name) < self._tried if one.name.isdecimal() else one.name in self._items)
            and 0 <= one.seconds < _SLOWEST
        ]

    def _read_kept(self, paths: frozenset[str]) -> list[Reach]:
        """Read the file; begin it anew if it is of other modules."""
        if self._kept.exists():
            first, *lines = self._kept.read_text("utf-8").splitlines()
            if paths <= set(json.loads(first)):
                return [Reach(*json.loads(line)) for line in lines]
        self._kept.parent.mkdir(parents=True, exist_ok=True)
        self._kept.write_text(json.dumps(sorted(paths)) + "\n", "utf-8")
        return []


def _in_child(work: Callable[[Callable[[str], None]], None], patience: float = _PATIENCE) -> str:
    """Run the work in a fork; return what it tells behind "end", or that it took too long or died."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        _be_child(work, writing)
    with suppress(OSError):  # the child has done so
        os.setpgid(pid, pid)
    os.close(writing)
    told, doing = b"", ""
    try:
        while True:
            if not select.select([reading], [], [], patience)[0]:
                return f"timed out by {doing}"
            if not (more := os.read(reading, 65536)):
                return f"timed out by the end of its process in {doing}"
            told += more
            *lines, told = told.split(b"\n")
            for line in lines:
                what, _, text = line.decode().partition(" ")
                if what == "broken":
                    raise RuntimeError(f"{text}, in {doing}")
                if what == "end":
                    return text
                doing = text
    finally:
        os.close(reading)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _be_child(work: Callable[[Callable[[str], None]], None], writing: int) -> NoReturn:
    try:
        os.setpgid(0, 0)
        die_with_parent()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(nothing, descriptor)

        def tell(line: str) -> None:
            os.write(writing, line.replace("\n", " ").encode() + b"\n")

        try:
            work(tell)
        except BaseException as error:  # noqa: BLE001 - told to the parent
            tell(f"broken by {type(error).__name__}: {error}")
        signal.pause()
    finally:
        os._exit(1)


def _run_seeds(seeds: list[int], tell: Callable[[str], None]) -> None:
    from tests.simulation.run import run_seed

    for seed in seeds:
        tell(f"run seed {seed}")
        try:
            violations = run_seed(seed).violations
        except Exception as error:  # noqa: BLE001 - the engines never raise through the simulator
            violations = [("raised", f"{type(error).__name__}: {error}")]
        if violations:
            kind, text = violations[0]
            tell(f"end simulator by seed {seed}: {kind}: {text}"[:300])
            signal.pause()


def _run_tests(tests: list[pytest.Item], tell: Callable[[str], None]) -> None:
    for item, upcoming in zip_longest(tests, tests[1:]):
        tell(f"run {item.nodeid}")
        if _failed(item, upcoming):
            tell(f"end tests by {item.nodeid}")
            signal.pause()


def _failed(item: pytest.Item, upcoming: pytest.Item | None) -> bool:
    try:
        reports = runtestprotocol(item, log=False, nextitem=upcoming)
    except (KeyboardInterrupt, SystemExit):  # a mutant lets through what a test has raised
        return True
    return any(report.failed for report in reports)


def _reach_of_seeds(seeds: list[int], paths: frozenset[str]) -> Iterator[Reach]:
    from tests.simulation.run import run_seed

    for seed in seeds:
        began = time.perf_counter()
        with lines_run(paths) as lines:
            run_seed(seed)
        yield _reach(str(seed), time.perf_counter() - began, lines)


def _reach_of_tests(items: list[pytest.Item], paths: frozenset[str], tell: Callable[[str], None]) -> Iterator[Reach]:
    for item, upcoming in zip_longest(items, items[1:]):
        tell(f"run {item.nodeid}")
        began = time.perf_counter()
        with lines_run(paths) as lines:
            failed = _failed(item, upcoming)
        yield _reach(item.nodeid, -1.0 if failed else time.perf_counter() - began, lines)


def _reach(name: str, seconds: float, lines: dict[str, set[int]]) -> Reach:
    return Reach(name, round(seconds, 3), {path: sorted(run) for path, run in lines.items() if run})
