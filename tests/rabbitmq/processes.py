"""Server processes of their own, which tests may signal and kill."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.rabbitmq.support import soon

if TYPE_CHECKING:
    from collections.abc import Callable

_PROGRAM = Path(__file__).with_name("worker.py")


class WorkerProcess:
    """A process that runs worker.py."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.pid = process.pid

    @classmethod
    async def start(cls, url: str, name: str) -> WorkerProcess:
        """Return one that takes calls."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(_PROGRAM),
            env=os.environ | {"RABIBRIDGE_URL": url, "WORKER_NAME": name},
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        worker = cls(process)
        assert await worker.line() == "ready", await worker.errors()
        return worker

    async def line(self) -> str:
        """Return the next line of its output, empty at the end."""
        assert self.process.stdout is not None
        return (await soon(self.process.stdout.readline())).decode().rstrip("\n")

    async def started(self, count: int) -> list[str]:
        """Wait until it has started so many calls."""
        return [await self.line() for _ in range(count)]

    def release(self) -> None:
        """Let its calls end."""
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")

    async def errors(self) -> str:
        """Return what it wrote to standard error, once it has ended."""
        assert self.process.stderr is not None
        return (await soon(self.process.stderr.read())).decode()

    async def ended(self) -> int:
        """Return its exit code."""
        return await soon(self.process.wait())

    async def close(self) -> None:
        """Kill it, if it runs."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.communicate()


class Workers:
    """The worker processes of one test."""

    def __init__(self, url: str, unique_name: Callable[[str], str]) -> None:
        self.name = unique_name("worker")
        self._url = url
        self._workers: list[WorkerProcess] = []

    async def start(self) -> WorkerProcess:
        worker = await WorkerProcess.start(self._url, self.name)
        self._workers.append(worker)
        return worker

    async def close(self) -> None:
        for worker in self._workers:
            await worker.close()
