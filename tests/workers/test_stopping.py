"""Signals end a supervisor and its workers in good order, however often and to whomever they are sent."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import soon, until
from tests.workers.support import alive, children_of

if TYPE_CHECKING:
    from pathlib import Path

    from rabibridge import RMQClient
    from tests.workers.support import Program


async def _held(client: RMQClient, folder: Path, count: int) -> list[asyncio.Task[int]]:
    """Return calls that have begun, and end when the file ``release`` exists."""
    calls = [asyncio.create_task(client.remote_call("hold", (str(number),), timeout=60)) for number in range(count)]
    await until(lambda: len(list(folder.glob("*.began"))) >= count)
    return calls


def _lifespans(folder: Path) -> tuple[list[str], list[str]]:
    """Return the processes that have entered their lifespan, and those that have left it, one for each time."""
    words = [line.split() for line in (folder / "lifespan.log").read_text().splitlines()]
    return tuple(sorted(pid for what, pid in words if what == wanted) for wanted in ("entered", "left"))  # type: ignore[return-value]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("group", [False, True], ids=["supervisor", "group"])
async def test_the_calls_in_flight_finish_and_all_processes_end(
    program: Program, client: RMQClient, number: signal.Signals, group: bool
) -> None:
    with program.command("services:server", "--workers", "2") as running:
        await running.serves(2)
        workers = running.workers
        calls = await _held(client, program.folder, 8)
        running.send(number, group=group)
        await running.logged(f"{number.name}: stopping 2 workers")
        if group:
            running.send(number, group=True)  # within the second in which signals count as one, or ignored
        (program.folder / "release").touch()
        assert set(await soon(asyncio.gather(*calls))) <= workers
        assert await running.ended() == 0
        assert not any(map(alive, workers))
        assert "Traceback" not in running.log
        entered, left = _lifespans(program.folder)
        assert entered == left == sorted(map(str, workers))


async def test_a_second_signal_returns_the_calls_to_their_queues(program: Program, client: RMQClient) -> None:
    with program.command("services.py", "--workers", "1") as running:
        await running.serves(1)
        (call,) = await _held(client, program.folder, 1)
        running.send(signal.SIGTERM)
        await running.logged("SIGTERM: stopping 1 worker")
        await asyncio.sleep(1.2)  # signals within a second count as one
        running.send(signal.SIGTERM)
        assert await running.ended() == 0
        assert "return to their queues" in running.log
        assert not call.done()
    (program.folder / "release").touch()
    with program.command("services.py", "--workers", "1") as running:
        await running.serves(1)
        assert await soon(call) in running.workers


async def test_a_signal_to_one_worker_drains_it_and_another_one_follows(program: Program, client: RMQClient) -> None:
    with program.command("services.py", "--workers", "2") as running:
        await running.serves(2)
        before = running.workers
        calls = await _held(client, program.folder, 8)
        first = min(before)
        os.kill(first, signal.SIGTERM)
        await running.logged("SIGTERM: stopping")
        (program.folder / "release").touch()
        assert first in set(await soon(asyncio.gather(*calls))) <= before
        await running.logged("another one is started")
        await until(lambda: first not in running.workers and len(running.workers) == 2)
        await running.logged(" serves\n")
        assert before - running.workers == {first}
        running.send(signal.SIGTERM)
        assert await running.ended() == 0


async def test_workers_are_killed_together_with_their_supervisor(program: Program, client: RMQClient) -> None:
    with program.command("services.py", "--workers", "2") as running:
        await running.serves(2)
        workers = running.workers
        blocked = asyncio.create_task(client.notify("block"))
        await until((program.folder / "block.began").exists)  # one of them does not even turn its event loop
        running.send(signal.SIGKILL)
        await until(lambda: not any(map(alive, workers)))
        await soon(blocked)
    (program.folder / "unblock").touch()


async def test_a_function_that_ignores_its_cancellation_is_killed(program: Program, client: RMQClient) -> None:
    with program.command("services.py", "--workers", "1", "--drain-timeout", "0.2") as running:
        await running.serves(1)
        await client.notify("cling")
        await until((program.folder / "cling.began").exists)
        workers = running.workers
        running.send(signal.SIGTERM)
        assert await running.ended() == 0
        assert not any(map(alive, workers))


async def test_a_process_that_a_function_forks_does_not_have_the_signal_handlers(
    program: Program, client: RMQClient
) -> None:
    with program.command("services.py", "--workers", "1") as running:
        await running.serves(1)
        assert await soon(client.remote_call("fork", ftype="sync", timeout=60)) == -signal.SIGTERM
        assert await soon(client.remote_call("pid", timeout=60)) in running.workers
        running.send(signal.SIGTERM)
        assert await running.ended() == 0


_UNSHARE = ("unshare", "--pid", "--fork", "--kill-child")


def _can_unshare() -> bool:
    return shutil.which("unshare") is not None and not subprocess.run([*_UNSHARE, "true"], check=False).returncode


async def test_as_process_1_it_drains_and_reaps_orphans(program: Program, client: RMQClient) -> None:
    if not _can_unshare():
        pytest.skip("this user may not make process namespaces")
    with program.command("services.py", "--workers", "1", prefix=_UNSHARE) as outside:
        await outside.serves(1)
        (supervisor,) = children_of(outside.pid)
        await soon(client.remote_call("leave_orphan", ftype="sync", timeout=60))
        await until(lambda: len(children_of(supervisor)) == 1)
        (call,) = await _held(client, program.folder, 1)
        os.kill(supervisor, signal.SIGTERM)
        await outside.logged("SIGTERM: stopping 1 worker")
        (program.folder / "release").touch()
        assert await soon(call)
        assert await outside.ended() == 0
