"""Services in child processes of a real worker process: killed, interrupted, crashed."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from rabibridge import RemoteExecutionError, WorkerCrashedError
from tests.support.processes import Processes
from tests.support.waiting import PATIENCE, soon
from tests.unit.process_support import gone, noted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.rabbitmq.support import Stage
    from tests.support.processes import Process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")


@pytest.fixture
async def start(
    vhost_url: str, unique_name: Callable[[str], str], tmp_path: Path
) -> AsyncIterator[Callable[..., Awaitable[tuple[Process, str]]]]:
    """Starts a worker for some functions; returns it, and what the names of its services end with."""
    name = unique_name("child")
    async with Processes(tmp_path) as processes:

        async def start(*functions: str) -> tuple[Process, str]:
            environment = {"RABIBRIDGE_URL": vhost_url, "WORKER_NAME": name, "FUNCTIONS": " ".join(functions)}
            worker = await processes.start("tests.rabbitmq.process_worker", environment)
            assert await worker.line(4 * PATIENCE) == "ready", worker.log.read_text()
            return worker, name

        yield start


async def test_ctrl_c_for_the_whole_group_lets_the_call_finish(
    stage: Stage, start: Callable[..., Awaitable[tuple[Process, str]]], tmp_path: Path
) -> None:
    worker, name = await start("note_and_wait")
    client = await stage.client()
    file = tmp_path / "pid"
    call = asyncio.create_task(client.remote_call(f"note_and_wait_{name}", (str(file), 1.5), ftype="sync"))
    (pid,) = await noted(file)
    os.killpg(worker.pid, signal.SIGINT)
    assert await soon(call) == pid
    assert await worker.line() == "ended"
    assert await worker.ended() == 0
    assert worker.log.read_text() == "", "no traceback of any process"
    await gone(pid)


@pytest.mark.parametrize("function", ["note_and_wait", "hold_the_interpreter"])
async def test_a_worker_that_is_killed_takes_its_children_along(
    stage: Stage, start: Callable[..., Awaitable[tuple[Process, str]]], tmp_path: Path, function: str
) -> None:
    worker, name = await start(function, "with_children")
    client = await stage.client()
    busy = asyncio.create_task(client.remote_call(f"{function}_{name}", (str(tmp_path / "pid"), 600.0), ftype="sync"))
    family = asyncio.create_task(client.remote_call(f"with_children_{name}", (str(tmp_path),), ftype="sync"))
    pids = await noted(tmp_path / "pid") + await noted(tmp_path / "pids")
    worker.kill()
    await gone(*pids)
    for call in (busy, family):
        call.cancel()
    await asyncio.gather(busy, family, return_exceptions=True)


async def test_a_crash_is_answered_and_not_redelivered(
    stage: Stage, start: Callable[..., Awaitable[tuple[Process, str]]]
) -> None:
    _, name = await start("end", "pid")
    client = await stage.client()
    for how, code in (("exit", 7), (str(int(signal.SIGKILL)), -9), ("segfault", -11)):
        with pytest.raises(WorkerCrashedError) as crashed:
            await soon(client.remote_call(f"end_{name}", (how,), ftype="sync"))
        assert (crashed.value.exit_code, crashed.value.executed) == (code, None)
    pids = [await soon(client.remote_call(f"pid_{name}", ftype="sync")) for _ in range(3)]
    assert len(set(pids)) == 3, "a child for each call"


async def test_a_chain_goes_through_child_processes(
    stage: Stage, start: Callable[..., Awaitable[tuple[Process, str]]]
) -> None:
    _, name = await start("call_itself")
    service = f"call_itself_{name}"
    client = (await stage.client()).options(timeout=4 * PATIENCE)
    assert await soon(client.remote_call(service, (service, 0))) == 0
    with pytest.raises(RemoteExecutionError, match=f"DeadlockError: .*{service} → {service} could only wait"):
        await soon(client.remote_call(service, (service, 1)))
