"""``run_timeout=`` of a service: it bounds the run, whatever the caller allows, and the caller gets one exact error."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from rabibridge_core import Depends, register_call
from rabibridge_core.errors import CallTimeoutError, RegistrationError, RemoteExecutionError, RunTimeoutError
from rabibridge_core.rpc import RpcServer
from rabibridge_core.settings import load_settings
from rabibridge_testing import MemoryBroker
from tests.support.waiting import soon, until
from tests.unit import process_functions as functions
from tests.unit.process_support import gone, noted, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from rabibridge_core.rpc import RpcClient


ON_LOOP: dict[str, Any] = {"executor": "loop", "fetch_size": 1}


def _told(error: RunTimeoutError) -> None:
    assert error.executed is None
    assert "run_timeout of its service, 0.1 s" in str(error)
    assert "not the timeout of the caller" in str(error)
    assert isinstance(error, TimeoutError)
    assert not isinstance(error, CallTimeoutError)
    assert error.error_type == "rabibridge_core.errors.RunTimeoutError"


async def test_a_call_without_a_timeout_ends_and_gives_back_its_place() -> None:
    ended = asyncio.Event()

    async def held(seconds: float) -> str:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            ended.set()
            raise
        return "done"

    async with served(held, **ON_LOOP, run_timeout=0.1) as (server, client):
        with pytest.raises(RunTimeoutError) as stopped:
            await soon(client.remote_call("held", (3600,), timeout=3600))
        _told(stopped.value)
        await soon(ended.wait())
        assert await soon(client.remote_call("held", (0,))) == "done", "the one place is free again"
        await until(lambda: server._server.services.statistics_of("held").ended == 2)
        statistics = server._server.services.statistics_of("held")
        counts = statistics.counts()
        assert (counts.succeeded, counts.failed, counts.expired) == (1, 1, 0)
        assert statistics.failures[0].type == "rabibridge_core.errors.RunTimeoutError"


async def test_the_timeout_of_the_caller_still_holds() -> None:
    async def held() -> None:
        await asyncio.sleep(3600)

    async with served(held, **ON_LOOP, run_timeout=3600) as (_, client):
        with pytest.raises(CallTimeoutError):
            await soon(client.remote_call("held", timeout=0.1))


async def test_a_function_that_ignores_its_cancellation_does_not_keep_its_caller() -> None:
    release = asyncio.Event()

    async def stubborn() -> str:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return "too late"

    async with served(stubborn, **ON_LOOP, run_timeout=0.1) as (_, client):
        with pytest.raises(RunTimeoutError) as stopped:
            await soon(client.remote_call("stubborn", timeout=3600))
        _told(stopped.value)
        release.set()


async def test_a_function_that_takes_its_time_to_end_keeps_its_place_until_then() -> None:
    events: list[str] = []
    cancelled, release = asyncio.Event(), asyncio.Event()

    async def slow_to_end(name: str) -> str:
        events.append(f"{name} begins")
        try:
            await asyncio.sleep(3600 if name == "first" else 0)
        except asyncio.CancelledError:
            cancelled.set()
            await release.wait()
            raise
        finally:
            events.append(f"{name} ends")
        return name

    async with served(slow_to_end, **ON_LOOP, run_timeout=0.1) as (server, client):
        with pytest.raises(RunTimeoutError):
            await soon(client.remote_call("slow_to_end", ("first",), timeout=3600))
        await soon(cancelled.wait())
        second = asyncio.ensure_future(client.remote_call("slow_to_end", ("second",), timeout=3600))
        await until(lambda: server._server.active_requests == 2 or len(events) > 1)
        assert events == ["first begins"]
        release.set()
        assert await soon(second) == "second"
        assert await soon(client.remote_call("slow_to_end", ("third",), timeout=3600)) == "third"
    assert events == [f"{name} {what}" for name in ("first", "second", "third") for what in ("begins", "ends")]


async def test_a_function_in_a_thread_runs_on_and_its_caller_is_told() -> None:
    release = threading.Event()

    def held() -> str:
        release.wait()
        return "too late"

    async with served(held, executor="thread", run_timeout=0.1) as (server, client):
        try:
            with pytest.raises(RunTimeoutError) as stopped:
                await soon(client.remote_call("held", ftype="sync", timeout=3600))
            _told(stopped.value)
            assert server._server.active_requests == 1, "it keeps its place"
        finally:
            release.set()
        await until(lambda: not server._server.active_requests)


async def test_a_child_process_is_ended(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    async with served(functions.note_and_wait, functions.square, run_timeout=1) as (_, client):
        call = asyncio.create_task(client.call(functions.note_and_wait, str(file), 3600.0))
        (pid,) = await noted(file)
        with pytest.raises(RunTimeoutError, match="1 s"):
            await soon(call)
        await gone(pid)
        assert await soon(client.call(functions.square, 3)) == 9


async def test_a_stream_ends_after_the_items_that_were_sent() -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1
        yield 2
        await asyncio.sleep(3600)

    def threaded() -> Iterator[int]:
        yield 1
        yield 2
        release.wait()
        yield 3

    release = threading.Event()
    async with (
        served(numbers, **ON_LOOP, run_timeout=0.3) as (_, client),
        served(threaded, executor="thread", run_timeout=0.3) as (_, other),
    ):
        try:
            for caller, name in ((client, "numbers"), (other, "threaded")):
                got: list[Any] = []
                with pytest.raises(RunTimeoutError, match="run_timeout") as stopped:
                    await soon(_collect(caller, name, got))
                assert got == [1, 2]
                assert stopped.value.received == 2
        finally:
            release.set()


async def _collect(client: RpcClient, name: str, got: list[Any]) -> None:
    async with client.stream(name) as items:
        async for item in items:
            got.append(item)


async def test_callers_with_one_key_get_the_one_error_and_the_function_ran_once() -> None:
    runs = []

    async def pay() -> None:
        runs.append(1)
        await asyncio.sleep(3600)

    async with served(pay, executor="loop", fetch_size=8, run_timeout=0.2) as (_, client):
        calls = [client.remote_call("pay", idempotency_key="k", timeout=3600) for _ in range(3)]
        errors = await soon(asyncio.gather(*calls, return_exceptions=True))
        assert [type(error) for error in errors] == [RunTimeoutError] * 3
        assert runs == [1]
        with pytest.raises(RunTimeoutError):
            await soon(client.remote_call("pay", idempotency_key="k", timeout=3600))
        assert runs == [1]


async def test_providers_count_and_clean_up() -> None:
    cleaned = asyncio.Event()

    async def slow_to_make() -> AsyncIterator[int]:
        try:
            await asyncio.sleep(3600)
            yield 1
        finally:
            cleaned.set()

    async def needs(value: Annotated[int, Depends(slow_to_make)]) -> int:
        return value

    async with served(needs, **ON_LOOP, run_timeout=0.1) as (_, client):
        with pytest.raises(RunTimeoutError):
            await soon(client.remote_call("needs", timeout=3600))
        await soon(cleaned.wait())


async def test_the_setting_holds_where_a_service_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_RUN_TIMEOUT", "0.1")

    async def held(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    @register_call(run_timeout=3600)
    async def longer(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    async with served(held, longer, **ON_LOOP) as (_, client):
        with pytest.raises(RunTimeoutError):
            await soon(client.remote_call("held", (3600,), timeout=3600))
        assert await soon(client.remote_call("longer", (0.3,), timeout=3600)) == "done"


@pytest.mark.parametrize("wrong", [0, -1, "5", float("nan"), True])
def test_a_wrong_limit_is_refused(wrong: Any) -> None:
    with pytest.raises(RegistrationError, match="run_timeout is"):

        @register_call(run_timeout=wrong)
        async def never() -> None: ...


async def test_callers_of_versions_that_do_not_know_it_get_a_remote_execution_error() -> None:
    assert issubclass(RunTimeoutError, RemoteExecutionError)
    server = RpcServer(transport=MemoryBroker().transport(), settings=load_settings(require_broker=False))
    assert server.settings.run_timeout is None, "there is no limit unless one is set"
