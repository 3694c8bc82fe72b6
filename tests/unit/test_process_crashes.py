"""Child processes that crash, hang or are killed: each costs its own call alone."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._server.child_process import ChildProcess
from rabibridge_core.errors import CallTimeoutError, RemoteExecutionError, WorkerCrashedError
from tests.support.waiting import PATIENCE, longer, soon, until
from tests.unit import process_functions as functions
from tests.unit.process_support import children, exists, gone, noted, served

if TYPE_CHECKING:
    from rabibridge_core.rpc import RpcClient

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="child processes of services need POSIX")


CRASHES = (
    ("exit", 7, "exited with code 7"),
    ("exit 0", 0, "exited with code 0"),
    ("segfault", -signal.SIGSEGV, "was killed by SIGSEGV"),
    (str(int(signal.SIGKILL)), -signal.SIGKILL, "was killed by SIGKILL"),
)


async def test_a_crash_ends_its_own_call_alone(tmp_path: Path) -> None:
    async with served(functions.end, functions.wait_for) as (server, client):
        for how, exit_code, text in CRASHES:
            go = tmp_path / f"go {exit_code}"
            other = asyncio.ensure_future(client.call(functions.wait_for, str(go)))
            with pytest.raises(WorkerCrashedError, match=text) as crashed:
                await soon(client.call(functions.end, how))
            assert crashed.value.exit_code == exit_code
            assert crashed.value.executed is None
            assert crashed.value.func_name == "end"
            assert crashed.value.error_type == "rabibridge_core.errors.WorkerCrashedError"
            assert not other.done()
            go.touch()
            await soon(other)
            with pytest.raises(RemoteExecutionError):
                await soon(client.call(functions.end, "lambda"))
            await until(lambda: server.health().ok)


async def test_calls_that_run_at_the_same_time_in_other_children_get_their_results(tmp_path: Path) -> None:
    go, noted_in = tmp_path / "go", tmp_path / "pid"
    async with served(functions.wait_for, fetch_size=4) as (_, client):
        others = [asyncio.ensure_future(client.call(functions.wait_for, str(go))) for _ in range(3)]
        victim = asyncio.ensure_future(client.call(functions.wait_for, str(tmp_path / "never"), str(noted_in)))
        (pid,) = await noted(noted_in)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerCrashedError):
            await soon(victim)
        go.touch()
        assert len(set(await soon(asyncio.gather(*others)))) == 3


async def test_children_that_crash_in_a_loop_are_told_and_started_more_slowly(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    async with served(functions.end, functions.pid) as (server, client):
        for _ in range(4):
            with pytest.raises(WorkerCrashedError):
                await soon(client.call(functions.end, "exit"))
        health = server.health()
        assert not health.ok
        (reason,) = health.reasons
        assert (
            "service 'end': its child processes crash, 4 times in a row: a child process exited with code 7" in reason
        )
        with pytest.raises(RemoteExecutionError, match="function"):
            await soon(client.call(functions.end, "lambda"))
        assert server.health().ok, "a call was answered"
    assert caplog.text.count("exited with code 7") >= 4


async def test_a_deadline_stops_the_child_and_frees_its_place(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    async with served(functions.note_and_wait) as (server, client):
        with pytest.raises(CallTimeoutError):
            await client.options(timeout=1.0).call(functions.note_and_wait, str(file), 600.0)
        (pid,) = await noted(file)
        await gone(pid)
        assert await soon(client.call(functions.note_and_wait, str(tmp_path / "second"), 0.0)) != pid
        assert server.health().ok


async def test_cancelling_a_call_stops_its_child_even_in_native_code(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    async with served(functions.hold_the_interpreter) as (_, client):
        call = asyncio.ensure_future(client.call(functions.hold_the_interpreter, str(file), 600.0))
        (pid,) = await noted(file)
        call.cancel()
        await gone(pid)
        await soon(client.call(functions.hold_the_interpreter, str(tmp_path / "again"), 0.0))


async def _with_children(client: RpcClient, file: Path, *, deadline: bool) -> asyncio.Future[None]:
    """Return a call that runs, and whose function has processes; its deadline is not far away, if it has one."""
    timeouts, started = longer(2.0), file.exists
    while True:
        view = client.options(timeout=next(timeouts) if deadline else PATIENCE)
        call = asyncio.ensure_future(view.call(functions.with_children, str(file.parent)))
        await until(lambda call=call: call.done() or started())  # type: ignore[misc]
        if started():
            return call
        with pytest.raises(CallTimeoutError):
            await call


@pytest.mark.parametrize("how", ["cancelled", "deadline"])
async def test_what_a_function_has_started_is_stopped_with_it(how: str, tmp_path: Path) -> None:
    async with served(functions.with_children) as (_, client):
        call = await _with_children(client, tmp_path / "pids", deadline=how == "deadline")
        pids = await noted(tmp_path / "pids")
        if how == "cancelled":
            assert all(map(exists, pids))
            call.cancel()
        else:
            with pytest.raises(CallTimeoutError):
                await call
        await gone(*pids)
    assert not set(pids) & children()


async def test_children_ignore_signals_that_are_for_the_worker(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    async with served(functions.note_and_wait) as (_, client):
        call = asyncio.ensure_future(client.call(functions.note_and_wait, str(file), 1.5))
        (pid,) = await noted(file)
        assert os.getpgid(pid) != os.getpgid(0), "a terminal sends them nothing"
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        assert await soon(call) == pid


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> int:
    """The size of bodies that are allowed, in bytes."""
    size = 64 * 1024 * 1024
    for name in ("MAX_BODY", "MAX_DECOMPRESSED", "COMPRESS_THRESHOLD"):
        monkeypatch.setenv(f"RABIBRIDGE_{name}", str(size + 1024))
    return size


async def test_a_child_that_is_killed_in_the_middle_of_an_argument(large: int) -> None:
    async with served(functions.echo, functions.pid) as (_, client):
        (pid,) = [child for child in children() if "echo" in _arguments(child)]
        os.kill(pid, signal.SIGSTOP)  # it reads no more than fits into its socket
        call = asyncio.ensure_future(client.call(functions.echo, b"x" * large))
        assert await soon(client.call(functions.pid)), "another child goes on"
        await until(lambda: _is_called(pid))
        await asyncio.sleep(0.1)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerCrashedError, match="was killed by SIGKILL"):
            await soon(call)
        assert await soon(client.call(functions.echo, 1)) == 1


async def test_a_child_that_is_killed_in_the_middle_of_a_result(large: int, tmp_path: Path) -> None:
    async with served(functions.large_result, functions.pid) as (_, client):
        go, noted_in = tmp_path / "go", tmp_path / "pid"
        call = asyncio.ensure_future(client.call(functions.large_result, large, str(go), str(noted_in)))
        (pid,) = await noted(noted_in)
        assert await soon(client.call(functions.pid)), "another child goes on"
        go.touch()
        while not _waits(pid):  # to write more than fits into the socket: nothing reads, as this holds the event loop
            time.sleep(0.05)  # noqa: ASYNC251
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerCrashedError, match="was killed by SIGKILL"):
            await soon(call)
        assert len(await soon(client.call(functions.large_result, large))) == large


def _is_called(pid: int) -> bool:
    """Tell whether the worker has begun to send a call to a child."""
    found = [each for each in gc.get_objects() if type(each) is ChildProcess and each.pid == pid]
    return any(child._reply is not None for child in found)


def _waits(pid: int) -> bool:
    """Tell whether all of a process waits, and for no time that it has given: its function sleeps in a loop."""
    before = _switches(pid)
    time.sleep(0.5)
    return _switches(pid) == before


def _switches(pid: int) -> list[str]:
    """Return how often each thread of a process has run."""
    tasks = Path(f"/proc/{pid}/task")
    return [(task / "schedstat").read_text() for task in tasks.iterdir()]


def _arguments(pid: int) -> list[str]:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().decode().split("\0")


RECYCLED = int(os.environ.get("CHILD_BACKLOG", "0"))
"""How many calls are submitted at once to children that are replaced; 0: enough that each is replaced once."""


@pytest.mark.parametrize(("size", "limit"), [(1, 1), (1, 3), (4, 2), *([(1, 2), (4, 1), (4, 3)] if RECYCLED else [])])
async def test_recycling_answers_every_call_of_a_backlog(size: int, limit: int) -> None:
    count = RECYCLED or size * limit + 1
    async with served(functions.pid, fetch_size=size, max_calls_per_child=limit) as (_, client):
        pids = [asyncio.ensure_future(client.call(functions.pid)) for _ in range(count)]
        async with asyncio.timeout(200 + 10 * RECYCLED):
            found = await asyncio.gather(*pids)
        assert len(found) == count
        assert max(map(found.count, found)) <= limit


async def test_an_idle_child_that_is_killed_is_replaced() -> None:
    async with served(functions.pid) as (server, client):
        first = await client.call(functions.pid)
        os.kill(first, signal.SIGKILL)
        await until(lambda: not server.health().ok)
        await until(lambda: server.health().ok)
        assert await soon(client.call(functions.pid)) != first
