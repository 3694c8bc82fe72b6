"""A terminal that is closed stops what runs in it in good order, unless it was started by nohup.

All other tests of workers run without a terminal, as ``setsid`` and service managers start programs.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import soon, until
from tests.workers.support import alive

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rabibridge import RMQClient
    from tests.workers.support import Program

_LOGS_TO_THE_TERMINAL = "import os, runpy; os.dup2(0, 2); runpy.run_module('rabibridge', run_name='__main__')"


@contextmanager
def _keyboard() -> Iterator[tuple[int, Callable[[bytes], None]]]:
    """Give a terminal, and what types in it."""
    ours, theirs = os.openpty()

    def press(keys: bytes) -> None:
        os.write(ours, keys)

    try:
        yield theirs, press
    finally:
        os.close(theirs)
        os.close(ours)


@contextmanager
def _terminal() -> Iterator[tuple[int, Callable[[], None]]]:
    """Give a terminal, and what closes it."""
    ours, theirs = os.openpty()
    closed = False

    def close() -> None:
        nonlocal closed
        if not closed:
            closed = True
            os.close(theirs)
            os.close(ours)

    try:
        yield theirs, close
    finally:
        close()


@pytest.mark.parametrize("workers", [["--workers", "2"], []], ids=["supervisor", "alone"])
async def test_the_calls_in_flight_finish(program: Program, client: RMQClient, workers: list[str]) -> None:
    with (
        _terminal() as (terminal, close),
        program.command("services.py", *workers, terminal=terminal) as running,
    ):
        await running.logged(" ready" if workers else " serves ")
        processes = running.workers | {running.pid}
        call: asyncio.Task[int] = asyncio.create_task(client.remote_call("hold", ("1",), timeout=60))
        await until((program.folder / "1.began").exists)
        close()
        await running.logged("SIGHUP: stopping")
        (program.folder / "release").touch()
        assert await soon(call) in processes
        assert await running.ended() == 0
        assert "return to their queues" not in running.log
        assert not any(map(alive, processes))


@pytest.mark.parametrize("workers", [["--workers", "2"], []], ids=["supervisor", "alone"])
async def test_ctrl_c_drains_and_a_second_one_returns_the_calls(
    program: Program, client: RMQClient, workers: list[str]
) -> None:
    with (
        _keyboard() as (terminal, press),
        program.command("services.py", *workers, terminal=terminal) as running,
    ):
        await running.logged(" ready" if workers else " serves ")
        processes = running.workers | {running.pid}
        call: asyncio.Task[int] = asyncio.create_task(client.remote_call("hold", ("1",), timeout=120))
        await until((program.folder / "1.began").exists)
        press(b"\x03")
        await running.logged("stopping: up to ")
        await running.logged("Ctrl-C again: the calls in flight return to their queues\n")
        await asyncio.sleep(1.2)  # signals within a second count as one
        press(b"\x03")
        assert await running.ended() == 0
        assert "SIGINT again: the calls in flight return to their queues" in running.log
        assert "Traceback" not in running.log
        assert not any(map(alive, processes))
        assert not call.done()
    (program.folder / "release").touch()
    with program.command("services.py", "--workers", "1") as running:
        await running.serves(1)
        assert await soon(call) in running.workers


async def test_a_log_that_went_to_the_terminal_holds_nothing_up(program: Program, client: RMQClient) -> None:
    arguments = ("-c", _LOGS_TO_THE_TERMINAL, "run", "services.py", "--workers", "1")
    with _terminal() as (terminal, close), program.python(*arguments, terminal=terminal) as running:
        assert await soon(client.remote_call("pid", timeout=60)) in running.workers
        close()
        assert await running.ended() == 0
        assert running.log == ""


async def test_under_nohup_it_continues_and_reloads(program: Program, client: RMQClient) -> None:
    with (
        _terminal() as (terminal, close),
        program.command("services.py", "--workers", "1", terminal=terminal, prefix=("nohup",)) as running,
    ):
        await running.serves(1)
        before = running.workers
        close()
        await running.logged("the workers continue")
        assert running.workers == before
        running.send(signal.SIGHUP)
        await running.logged(": reloaded\n")
        assert not before & running.workers
        assert await soon(client.remote_call("pid", timeout=60)) in running.workers
        running.send(signal.SIGTERM)
        assert await running.ended() == 0
