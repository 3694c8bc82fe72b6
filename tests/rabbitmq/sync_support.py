"""Runs the programs of sync_programs.py."""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.rabbitmq.support import Gate
from tests.support.processes import Processes
from tests.support.waiting import PATIENCE
from tools.other_python import OtherPythonError, other_python

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.rabbitmq.support import Stage
    from tests.support.processes import Process

LOOPS = ["uvloop", "asyncio"] if sys.platform != "win32" else ["asyncio"]
_NEWER = [each for each in ("3.12", "3.13", "3.14") if tuple(map(int, each.split("."))) > sys.version_info]
ON_EVERY_PYTHON = pytest.mark.parametrize(
    ("python", "loop"),
    [
        *((None, loop) for loop in LOOPS),
        *(
            pytest.param(version, LOOPS[0], marks=pytest.mark.timeout(600)) for version in _NEWER
        ),  # the first installs it
    ],
    indirect=["python"],
)
"""Runs a test with both event loops, and on newer Pythons that are installed."""


class OnPython(NamedTuple):
    """A Python to run programs on."""

    program: Path
    version: tuple[int, ...]


class SyncPrograms:
    """Runs the programs of sync_programs.py."""

    def __init__(self, stage: Stage, processes: Processes, names: dict[str, str], gate: Gate, python: OnPython) -> None:
        self.url = stage.url
        self.gate = gate
        self.version = python.version
        self._python = python.program
        self._names = names
        self._processes = processes

    async def start(self, program: str, loop: str = "uvloop", **variables: str) -> Process:
        environment = {"RABIBRIDGE_URL": self.url, "PROGRAM": program, "LOOP": loop, **self._names, **variables}
        return await self._processes.start("tests.rabbitmq.sync_programs", environment, self._python)

    async def reports(
        self, program: str, loop: str = "uvloop", *, log: str = "", **variables: str
    ) -> tuple[list[dict[str, Any]], int]:
        """Run a program to its end; return its reports and its exit code. It logs one line with ``log``, or none."""
        patience = 2 * PATIENCE + 0.5 * int(variables.get("FORKS", "0"))
        return await self.rest(await self.start(program, loop, **variables), log=log, patience=patience)

    async def rest(
        self, process: Process, *, log: str = "", patience: float = 2 * PATIENCE
    ) -> tuple[list[dict[str, Any]], int]:
        """Return the reports that a program has still to make, and its exit code."""
        reports = []
        while report := await process.says(patience):
            reports.append(report)
        code = await process.ended()
        logged = process.log.read_text()
        assert len(logged.splitlines()) == bool(log), logged
        assert log in logged
        return reports, code


@pytest.fixture
def python(request: pytest.FixtureRequest) -> OnPython:
    """The Python to run programs on: this one, or the version that is the parameter."""
    version: str | None = getattr(request, "param", None)
    if version is None:
        return OnPython(Path(sys.executable), sys.version_info[:2])
    try:
        program = other_python(version)
    except OtherPythonError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))
    if program is None:
        pytest.skip(f"Python {version} is not installed")
    return OnPython(program, tuple(map(int, version.split("."))))


@pytest.fixture
async def programs(python: OnPython, stage: Stage, tmp_path: Path) -> AsyncIterator[SyncPrograms]:
    numbers = itertools.count(1)

    async def ticket() -> int:
        return next(numbers)

    gate = Gate()
    names = {"SERVICE": await stage.serve(ticket), "HOLD": await stage.serve(gate.function())}
    async with Processes(tmp_path) as processes:
        yield SyncPrograms(stage, processes, names, gate, python)
