"""Runs the programs of sync_programs.py."""

from __future__ import annotations

import itertools
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.rabbitmq.support import Gate
from tests.support.processes import Processes
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.rabbitmq.support import Stage
    from tests.support.processes import Process

LOOPS = ["uvloop", "asyncio"] if sys.platform != "win32" else ["asyncio"]


class SyncPrograms:
    """Runs the programs of sync_programs.py."""

    def __init__(self, stage: Stage, processes: Processes, service: str, hold: str, gate: Gate) -> None:
        self.url = stage.url
        self.gate = gate
        self._names = {"SERVICE": service, "HOLD": hold}
        self._processes = processes

    async def start(self, program: str, loop: str = "uvloop", **variables: str) -> Process:
        environment = {"RABIBRIDGE_URL": self.url, "PROGRAM": program, "LOOP": loop, **self._names, **variables}
        return await self._processes.start("tests.rabbitmq.sync_programs", environment)

    async def reports(
        self, program: str, loop: str = "uvloop", *, log: str = "", **variables: str
    ) -> tuple[list[dict[str, Any]], int]:
        """Run a program to its end; return its reports and its exit code. It logs one line with ``log``, or none."""
        return await self.rest(await self.start(program, loop, **variables), log=log)

    async def rest(self, process: Process, *, log: str = "") -> tuple[list[dict[str, Any]], int]:
        """Return the reports that a program has still to make, and its exit code."""
        reports = []
        while report := await process.says(2 * PATIENCE):
            reports.append(report)
        code = await process.ended()
        logged = process.log.read_text()
        assert len(logged.splitlines()) == bool(log), logged
        assert log in logged
        return reports, code


@pytest.fixture
async def programs(stage: Stage, tmp_path: Path) -> AsyncIterator[SyncPrograms]:
    numbers = itertools.count(1)

    async def ticket() -> int:
        return next(numbers)

    gate = Gate()
    service, hold = await stage.serve(ticket), await stage.serve(gate.function())
    async with Processes(tmp_path) as processes:
        yield SyncPrograms(stage, processes, service, hold, gate)
