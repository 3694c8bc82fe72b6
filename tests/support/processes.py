"""Worker and caller processes that tests signal, freeze and kill."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rabibridge_testing._servers.reaper import Reaper, kill_group
from tests.support import fork_server
from tests.support.fork_server import server_of_commands
from tests.support.waiting import PATIENCE, until

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Process", "Processes"]

_ROOT = Path(__file__).parents[2]


class Process:
    """A process that speaks in lines, and whose log goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.pid = process.pid
        self.log = log
        self._process = process
        self._lines = asyncio.StreamReader()
        self._output: asyncio.ReadTransport | None = None

    async def listen(self) -> Process:
        """Begin to read its output."""
        loop = asyncio.get_running_loop()
        self._output, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(self._lines), self._process.stdout
        )
        return self

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    async def line(self, patience: float = PATIENCE) -> str:
        """Return the next line of its output, within so many seconds; an empty one, once it has ended."""
        async with asyncio.timeout(patience):
            return (await self._lines.readline()).decode().rstrip("\n")

    async def says(self, patience: float = PATIENCE) -> dict[str, Any]:
        """Return its next line as JSON; nothing, once it has ended."""
        answer: dict[str, Any] = json.loads(await self.line(patience) or "{}")
        return answer

    async def ready(self) -> Process:
        """Wait until it says in JSON that it is at work."""
        said = await self.says()
        assert "ready" in said, f"{said}\n{self.log.read_text()}"
        return self

    async def state(self) -> dict[str, Any]:
        """Ask how it is."""
        self.write_line()
        return await self.says()

    def write_line(self) -> None:
        """Write an empty line to its input, if it runs."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(b"\n")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)

    async def ended(self) -> int:
        """Return its exit code."""
        await until(lambda: not self.running)
        return self._process.returncode

    async def close(self) -> None:
        """Kill it, if it runs, and what it has left running."""
        kill_group(self.pid)
        await self.ended()
        if self._output is not None:
            self._output.close()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


class Processes:
    """Starts processes and ends them, if need be even where this process is killed."""

    def __init__(self, folder: Path) -> None:
        """Keep the folder, into which the logs go."""
        self.all: list[Process] = []
        self._folder = folder
        self._numbers = itertools.count()
        self._reaper = Reaper()

    async def start(self, module: str, environment: dict[str, str], python: Path | None = None) -> Process:
        """Run a module of this repository as a program; it is not at work yet.

        Args:
            module: the module.
            environment: what it finds in its environment, besides what is in ours.
            python: a Python that is started for it; None: it is forked from one that has imported the packages.
        """
        log = self._folder / f"{module.rpartition('.')[2]}-{next(self._numbers)}.log"
        with log.open("ab") as errors:
            options: dict[str, Any] = {
                "cwd": _ROOT, "env": os.environ | environment, "start_new_session": True, "bufsize": 0,
                "stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors,
            }  # fmt: skip
            process: subprocess.Popen[Any]
            if python is None:
                process = await asyncio.to_thread(fork_server.start, server_of_commands, ["-m", module], **options)
            else:
                process = await asyncio.to_thread(lambda: subprocess.Popen([python, "-m", module], **options))
        self._reaper.watch_group(process.pid)
        started = Process(process, log)
        self.all.append(started)
        return await started.listen()

    def logs(self) -> str:
        """Return everything that they logged."""
        return "".join(process.log.read_text() for process in self.all)

    async def forget(self) -> None:
        """Forget those that have ended, and what the others have logged so far."""
        for process in [process for process in self.all if not process.running]:
            await process.close()
            self.all.remove(process)
        for process in self.all:
            os.truncate(process.log, 0)

    async def __aenter__(self) -> Processes:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await asyncio.gather(*(process.close() for process in self.all))
        finally:
            self._reaper.close()
