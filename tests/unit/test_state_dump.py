"""SIGUSR1 shows what a worker runs, also while its event loop is blocked."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGUSR1 on Windows")
PATIENCE = 60
PROGRAM = """
import asyncio, hashlib, logging, sys, time
from rabibridge import RMQClient, RMQServer

logging.basicConfig(format="%(levelname)s %(message)s")

async def waits(password):
    print("runs", flush=True)
    await asyncio.sleep(3600)

async def blocks(password):
    print("runs", flush=True)
    time.sleep(3600)

async def uses_a_library(password):
    print("runs", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"x", b"x", 2**31 - 1)  # it lets other threads run, and no signal interrupts it

async def main():
    server = RMQServer(url="memory://state", name="shop")
    for function in (waits, blocks, uses_a_library):
        server.add_service(function)
    await server.connect()
    serving = asyncio.create_task(server.run_serve())
    await server.wait_serving()
    async with RMQClient(url="memory://state") as client:
        await client.options(timeout=1000).call(sys.argv[1], "hunter2")

asyncio.run(main())
"""


class Program:
    """A running program, and what it writes on standard error."""

    def __init__(self, folder: Path, function: str) -> None:
        path = folder / "shop.py"
        path.write_text(PROGRAM)
        self.process = subprocess.Popen(
            [sys.executable, str(path), function], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "runs\n", self.lines

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.lines.append(line.rstrip())
                self._changed.notify_all()

    def shows(self, *texts: str) -> str:
        """Wait until standard error has all of these, and return it."""
        with self._changed:
            assert self._changed.wait_for(lambda: all(text in "\n".join(self.lines) for text in texts), PATIENCE), (
                self.lines
            )
            return "\n".join(self.lines)


@pytest.fixture
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Program]:
    program = Program(tmp_path, request.param)
    yield program
    program.process.kill()
    program.process.communicate()


@pytest.mark.parametrize("run", ["waits"], indirect=True)
def test_it_shows_every_call_with_its_stack(run: Program) -> None:
    run.process.send_signal(signal.SIGUSR1)
    text = run.shows("WARNING shop runs 1 calls", "in waits", "in sleep")
    assert "waits " in text
    assert "s left, attempt 1, caller " in text
    assert "hunter2" not in text
    assert "blocked" not in text
    run.process.send_signal(signal.SIGUSR1)  # and again
    run.shows("WARNING shop runs 1 calls")
    with run._changed:
        assert run._changed.wait_for(lambda: sum("shop runs 1 calls" in line for line in run.lines) == 2, PATIENCE)


@pytest.mark.parametrize("run", ["blocks"], indirect=True)
def test_it_shows_what_blocks_the_event_loop(run: Program) -> None:
    run.process.send_signal(signal.SIGUSR1)
    text = run.shows("WARNING shop runs 1 calls; its event loop is blocked", "in blocks")
    assert "hunter2" not in text


@pytest.mark.parametrize("run", ["uses_a_library"], indirect=True)
def test_it_shows_what_runs_in_c(run: Program) -> None:
    run.process.send_signal(signal.SIGUSR1)
    run.shows("its event loop is blocked", "in uses_a_library")
