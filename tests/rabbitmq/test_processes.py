"""The rule: a connection belongs to the process that made it; identity is drawn at connect, never inherited.

A client made before a fork and connected after it is another client in each process: with a name, keys and ids of its
own. One that was connected before the fork refuses every use in the child, at once, with a ConfigurationError that
names both processes, until its connect() is awaited there; the parent is not disturbed. The socket of a connection is
closed in forked children and when another program is executed, so that the broker notices at once that a process is
gone. For loops and threads see tests/unit/test_loops_and_threads.py.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.processes import Processes
from tests.support.waiting import PATIENCE, counted_time, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.rabbitmq.support import Stage
    from tests.support.processes import Process

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")


class Programs:
    """Runs the programs of forks.py; they call a service that returns how often it was called."""

    def __init__(self, stage: Stage, processes: Processes, service: str) -> None:
        self.service = service
        self._stage = stage
        self._processes = processes

    async def start(self, program: str) -> Process:
        environment = {"RABIBRIDGE_URL": self._stage.url, "SERVICE": self.service, "PROGRAM": program}
        return await self._processes.start("tests.rabbitmq.forks", environment)


@pytest.fixture
async def programs(stage: Stage, tmp_path: Path) -> AsyncIterator[Programs]:
    numbers = itertools.count(1)

    async def ticket() -> int:
        return next(numbers)

    service = await stage.serve(ticket)
    async with Processes(tmp_path) as processes:
        yield Programs(stage, processes, service)


async def said(process: Process, count: int) -> list[dict[str, Any]]:
    return [await process.says() for _ in range(count)]


async def test_workers_forked_after_the_client_was_made(programs: Programs) -> None:
    process = await programs.start("prefork")
    workers = await said(process, 3)
    assert await process.ended() == 0, process.log.read_text()
    assert sorted(worker["result"] for worker in workers) == [1, 2, 3]  # none is given the answer of another one
    assert len({worker["name"] for worker in workers}) == 3
    assert all(str(worker["pid"]) in worker["name"] for worker in workers)


async def test_a_client_that_was_connected_before_the_fork(programs: Programs) -> None:
    process = await programs.start("connected")
    (before,) = await said(process, 1)
    assert before["result"] == 1
    for result in (2, 3):
        refused, anew = await said(process, 2)
        assert refused["pid"] != before["pid"]
        assert refused["result"].startswith("ConfigurationError: "), refused
        assert f"connected in process {before['pid']}" in refused["result"]
        assert f"process {refused['pid']} was forked from" in refused["result"]
        assert refused["took"] < PATIENCE / 2
        assert (refused["state"], refused["health"]) == ("closed", False)
        assert anew["result"] == result
        assert anew["name"] != before["name"]
    (after,) = await said(process, 1)
    assert (after["result"], after["state"]) == (4, "ready")
    assert await process.ended() == 0, process.log.read_text()
    assert "; reconnecting" not in process.log.read_text()  # the connection was lost on neither side


async def test_multiprocessing_by_fork_and_spawn(programs: Programs) -> None:
    process = await programs.start("pool")
    reports = await said(process, 4)
    assert await process.ended() == 0, process.log.read_text()
    assert [report["result"] for report in reports] == [1, 2, 3, 4]
    assert len({report["name"] for report in reports}) == 4


def _holder(name: str) -> Callable[[], Any]:
    async def hold() -> int:
        return os.getpid()

    hold.__name__ = name
    return hold


async def test_a_worker_dies_and_its_forked_children_live(stage: Stage, programs: Programs) -> None:
    worker = await programs.start("worker")
    assert (await worker.says())["ready"]
    client = await stage.client()
    call = asyncio.create_task(client.remote_call(f"hold_{programs.service}", timeout=4 * PATIENCE))
    assert (await worker.says())["started"]
    second = stage.new_server()
    second.add_service(_holder(f"hold_{programs.service}"))
    await soon(second.connect())
    stage.start(second)
    async with counted_time() as counted:
        worker.kill()
        assert await soon(call) == os.getpid()
    assert counted() < 2 * 10  # seconds: less than two heartbeats, which notice nothing sooner
    assert await worker.ended() == -signal.SIGKILL


async def test_the_socket_is_closed_in_a_program_that_is_executed(stage: Stage) -> None:
    client = await stage.client()
    transport: Any = client._transport
    plain = transport._connection.session.multiplexer._plain
    assert not os.get_inheritable(plain.fileno())
    script = f"import os; os.fstat({plain.fileno()})"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", script, close_fds=False, stderr=-3)
    assert await soon(child.wait()) == 1
