"""Child processes that crash, hang or are killed: each costs its own call alone."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.errors import CallTimeoutError, RemoteExecutionError, WorkerCrashedError
from tests.support.waiting import soon, until
from tests.unit import process_functions as functions
from tests.unit.process_support import children, exists, gone, noted, served

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="child processes of services need POSIX")


@pytest.mark.parametrize(
    ("how", "exit_code", "text"),
    [
        ("exit", 7, "exited with code 7"),
        ("exit 0", 0, "exited with code 0"),
        ("segfault", -signal.SIGSEGV, "was killed by SIGSEGV"),
        (str(int(signal.SIGKILL)), -signal.SIGKILL, "was killed by SIGKILL"),
    ],
)
async def test_a_crash_ends_its_own_call_alone(how: str, exit_code: int, text: str) -> None:
    async with served(functions.end, functions.pid, functions.slept, fetch_size=2) as (server, client):
        others = [asyncio.ensure_future(client.call(functions.slept, 0.5)) for _ in range(2)]
        with pytest.raises(WorkerCrashedError, match=text) as crashed:
            await soon(client.call(functions.end, how))
        assert crashed.value.exit_code == exit_code
        assert crashed.value.executed is None
        assert crashed.value.func_name == "end"
        assert crashed.value.error_type == "rabibridge_core.errors.WorkerCrashedError"
        assert len(await soon(asyncio.gather(*others))) == 2
        with pytest.raises(RemoteExecutionError):
            await soon(client.call(functions.end, "lambda"))
        await until(lambda: server.health().ok)


async def test_calls_that_run_at_the_same_time_in_other_children_get_their_results(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    async with served(functions.note_and_wait, fetch_size=3) as (_, client):
        others = [
            asyncio.ensure_future(client.call(functions.note_and_wait, str(tmp_path / str(number)), 1.0))
            for number in range(2)
        ]
        victim = asyncio.ensure_future(client.call(functions.note_and_wait, str(file), 600.0))
        (pid,) = await noted(file)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerCrashedError):
            await soon(victim)
        assert len(set(await soon(asyncio.gather(*others)))) == 2


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


async def test_what_a_function_has_started_is_stopped_with_it(tmp_path: Path) -> None:
    async with served(functions.with_children) as (_, client):
        call = asyncio.ensure_future(client.call(functions.with_children, str(tmp_path)))
        pids = await noted(tmp_path / "pids")
        assert all(map(exists, pids))
        call.cancel()
        await gone(*pids)
    assert not set(pids) & set(children())


async def test_children_ignore_signals_that_are_for_the_worker(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    async with served(functions.note_and_wait) as (_, client):
        call = asyncio.ensure_future(client.call(functions.note_and_wait, str(file), 1.5))
        (pid,) = await noted(file)
        assert os.getpgid(pid) != os.getpgid(0), "a terminal sends them nothing"
        os.kill(pid, signal.SIGINT)
        os.kill(pid, signal.SIGTERM)
        assert await soon(call) == pid


async def test_a_child_that_is_killed_in_the_middle_of_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 64 * 1024 * 1024
    for name in ("MAX_BODY", "MAX_DECOMPRESSED", "COMPRESS_THRESHOLD"):
        monkeypatch.setenv(f"RABIBRIDGE_{name}", str(size + 1024))
    async with served(functions.echo, functions.pid) as (server, client):
        for delay in (0.05, 0.3, 0.6):
            before = set(children())
            call = asyncio.ensure_future(client.call(functions.echo, b"x" * size))
            await asyncio.sleep(delay)
            for pid in before:
                if "echo" in _arguments(pid):
                    os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(WorkerCrashedError):
                assert len(await soon(call)) == size  # it was quicker
            assert await soon(client.call(functions.echo, 1)) == 1
            assert await soon(client.call(functions.pid))
        await until(lambda: server.health().ok)


def _arguments(pid: int) -> list[str]:
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().decode().split("\0")


@pytest.mark.parametrize(("size", "limit", "count"), [(1, 1, 6), (4, 2, 24), (2, 3, 20)])
async def test_recycling_answers_every_call_of_a_backlog(size: int, limit: int, count: int) -> None:
    async with served(functions.pid, fetch_size=size, max_calls_per_child=limit) as (_, client):
        pids = [asyncio.ensure_future(client.call(functions.pid)) for _ in range(count)]
        async with asyncio.timeout(200):
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
