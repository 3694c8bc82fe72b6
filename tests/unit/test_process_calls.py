"""Functions that run in child processes: what they are given, and what comes back."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.errors import InvalidArgumentsError, RemoteExecutionError, ServiceError
from tests.support.waiting import soon, until
from tests.unit import process_functions as functions
from tests.unit.process_support import children, gone, served

if TYPE_CHECKING:
    from pathlib import Path

CALLS = int(os.environ.get("CHILD_CALLS", "200"))
"""How many calls of 100 KiB run through two children, with 500 of them at the worker."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="child processes of services need POSIX")


async def test_a_function_runs_in_a_warm_child_that_is_gone_with_the_service() -> None:
    async with served(functions.square, functions.pid) as (_, client):
        assert await client.call(functions.square, 12) == 144
        child = await client.call(functions.pid)
        assert child != os.getpid()
        assert child == await client.call(functions.pid)
    await gone(child)
    assert child not in children(), "it was reaped"


async def test_an_async_function_runs_on_the_event_loop_of_its_child() -> None:
    async with served(functions.slept, fetch_size=2) as (_, client):
        pids = await asyncio.gather(*(client.call(functions.slept, 0.3) for _ in range(2)))
        assert len(set(pids)) == 2, "each child runs one call at a time"
        assert os.getpid() not in pids


async def test_static_and_class_methods_can_be_served() -> None:
    async with served(functions.Tools.static, functions.Tools.of_class) as (_, client):
        assert await client.remote_call("static", (1,), ftype="sync") == 2
        assert await client.remote_call("of_class", (1,), ftype="sync") == "Tools 1"


async def test_arguments_are_validated_in_the_child() -> None:
    async with served(functions.add_up, validate=True) as (_, client):
        assert await client.remote_call("add_up", ({"x": 1, "y": "2"},), {"factor": 3}, ftype="sync") == 9
        with pytest.raises(InvalidArgumentsError, match="factor") as refused:
            await client.remote_call("add_up", ({"x": 1, "y": 2},), {"factor": "no"}, ftype="sync")
        assert refused.value.executed is False
        with pytest.raises(InvalidArgumentsError):
            await client.remote_call("add_up", (), ftype="sync")


ENDS = (
    ("lambda", "rabibridge_core.errors.SerializationError", "msgpack cannot encode a value of type function"),
    ("awkward", "tests.unit.process_functions.Awkward", "1 and 2"),
    ("SystemExit", "builtins.SystemExit", "3"),
    ("KeyboardInterrupt", "builtins.KeyboardInterrupt", ""),
    ("StopIteration", "builtins.StopIteration", ""),
)


async def test_whatever_a_function_raises_or_returns_its_child_lives() -> None:
    async with served(functions.end) as (_, client):
        before = children()
        for how, error_type, message in ENDS:
            with pytest.raises(RemoteExecutionError) as failed:
                await client.call(functions.end, how)
            assert failed.value.error_type == error_type
            assert message in failed.value.error_message
            assert failed.value.executed is True
            assert how == "lambda" or "process_functions.py" in failed.value.remote_traceback
        assert children() == before, "no child was replaced"


async def test_a_declared_error_keeps_its_class_and_fields() -> None:
    async with served(functions.end, raises=(functions.OutOfPaper,)) as (_, client):
        with pytest.raises(functions.OutOfPaper, match="no paper in tray 3") as failed:
            await client.call(functions.end, "declared")
        assert failed.value.tray == 3
        assert isinstance(failed.value, ServiceError)


async def test_current_call_knows_the_call() -> None:
    async with served(functions.described) as (_, client):
        told = await client.options(timeout=30, headers={"tenant": "blue"}).call(functions.described)
        assert told["service"] == "described"
        assert told["header"] == "blue"
        assert 0 < told["left"] <= 30
        assert told["attempt"] == 1
        assert told["id"]
        assert told["main"] == "MainThread"


async def test_progress_reaches_the_caller_while_the_function_computes() -> None:
    told: list[tuple[float | None, str]] = []
    async with served(functions.reports) as (_, client):
        progress = client.options(on_progress=lambda report: told.append((report.fraction, report.text)))
        assert await progress.call(functions.reports, 5) == 5
    assert told[0] == (0.0, "step 0")
    assert len(told) > 1
    assert told == sorted(told)


async def test_log_records_of_a_child_pass_through_the_loggers_of_the_worker(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with served(functions.logs) as (_, client):
        await client.call(functions.logs, "a\nb")
        await until(lambda: "in a child" in caplog.text)
    assert "at INFO: a\nb" in caplog.text
    assert "at DEBUG" not in caplog.text
    assert "ValueError: a" in caplog.text
    (record,) = (each for each in caplog.records if "at INFO" in each.getMessage())
    assert record.name == "tests.process_functions"
    assert record.process not in (None, os.getpid())


async def test_providers_are_made_in_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note = tmp_path / "note"
    monkeypatch.setenv("PROCESS_TEST_NOTE", str(note))
    async with served(functions.with_providers) as (_, client):
        for number in (1, 2):
            found = await client.remote_call("with_providers", (number,), ftype="sync")
            pid = found[3]
            assert found == [number, f"made in {pid}", f"for a call in {pid}", pid, 1]
    assert note.read_text() == "cleaned up"
    assert not functions.places, "nothing was made in the worker"


async def test_large_bodies_cross(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 64 * 1024 * 1024
    monkeypatch.setenv("RABIBRIDGE_MAX_BODY", str(size + 1024))
    monkeypatch.setenv("RABIBRIDGE_MAX_DECOMPRESSED", str(size + 1024))
    monkeypatch.setenv("RABIBRIDGE_COMPRESS_THRESHOLD", str(2 * size))
    body = os.urandom(1024) * (size // 1024)
    async with served(functions.echo) as (_, client):
        assert await soon(client.call(functions.echo, body)) == body


async def test_many_calls_of_middle_size() -> None:
    body, left = os.urandom(100 * 1024), iter(range(CALLS))

    async def some() -> int:
        count = 0
        for _ in left:
            count += await client.call(functions.echo, body) == body
        return count

    async with served(functions.echo, fetch_size=2, fetch_ahead=498, queue_size=CALLS) as (_, client):
        assert sum(await asyncio.gather(*(some() for _ in range(min(1000, CALLS))))) == CALLS


async def test_multiprocessing_works_in_a_child() -> None:
    async with served(functions.pooled) as (_, client):
        assert await client.call(functions.pooled, [1, 2, 3]) == [1, 4, 9, 1, 4, 9]


async def test_a_broadcast_runs_in_a_child_of_its_own() -> None:
    async with served(functions.pid) as (_, client):
        own = await client.call(functions.pid)
        (reply,) = [reply async for reply in client.options(timeout=60).broadcast(functions.pid)]
        assert reply.result not in (own, os.getpid())
    await gone(own, reply.result)
