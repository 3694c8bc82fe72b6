"""``client.running_calls()``: what each worker runs now, asked by a control request."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, Literal

import pytest

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.introspection import CallStack, Place, RunningCall, WorkerCalls
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_testing import MemoryBroker
from tests.support.waiting import soon, until
from tests.unit import process_functions as functions
from tests.unit.process_support import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

SECRET = "hunter2"
go = threading.Event()


async def waits(password: str) -> None:
    await _deep()


async def _deep() -> None:
    while not go.is_set():  # noqa: ASYNC110 - the test is about where it waits
        await asyncio.sleep(0.01)


def in_a_thread(password: str) -> None:
    go.wait(60)


@pytest.fixture
async def both() -> AsyncIterator[tuple[RpcServer, RpcClient]]:
    broker = MemoryBroker()
    server = RpcServer(transport=broker.transport(), name="shop")
    go.clear()
    async with server.serving(), RpcClient(transport=broker.transport()) as client:
        yield server, client
        go.set()


async def _running(client: RpcClient, count: int, **asked: Any) -> WorkerCalls:
    found: list[WorkerCalls] = []

    async def look() -> bool:
        found[:] = await client.running_calls(timeout=30, **asked)
        return found[0].count == count and all(call.running for call in found[0].calls[:1])

    async with asyncio.timeout(60):
        while not await look():
            pass
    return found[0]


async def test_it_tells_of_each_call_its_age_its_caller_and_where_it_is(both: tuple[RpcServer, RpcClient]) -> None:
    server, client = both
    server.add_service(waits, fetch_size=1, fetch_ahead=1)
    server.add_service(in_a_thread)
    await server.wait_serving()
    calls = [
        asyncio.create_task(client.options(timeout=120).call(name, SECRET))
        for name in ("waits", "waits", "in_a_thread")
    ]
    told = await _running(client, 3)
    assert (told.worker, told.pid, told.refused) == ("shop", os.getpid(), "")
    assert SECRET not in str(told)
    first, second, third = sorted(told.calls, key=lambda call: (call.service == "in_a_thread", not call.running))
    assert [first.service, second.service, third.service] == ["waits", "waits", "in_a_thread"]
    assert 0 <= first.age < 120
    assert first.time_left is not None
    assert 0 < first.time_left <= 120
    assert first.attempt == 1
    assert first.caller == second.caller == third.caller
    (stack,) = first.stacks
    assert [place.function for place in stack.places if place.user] == ["_deep", "waits"]
    assert (second.running, second.stacks) == (False, ())
    assert [stack.where.split()[0] for stack in third.stacks] == ["thread"]
    assert "in_a_thread" in str(third.stacks[0])
    (of_one,) = await client.running_calls("shop", service="in_a_thread", timeout=30)
    assert [call.service for call in of_one.calls] == ["in_a_thread"]
    assert await client.running_calls("nobody", timeout=0.1) == ()
    with pytest.raises(ConfigurationError, match="name"):
        await client.running_calls(service="")
    go.set()
    await soon(asyncio.gather(*calls))


@pytest.mark.parametrize(("told", "shown"), [("full", ["user", "library"]), ("user", ["user"]), ("none", [])])
async def test_a_service_shows_of_stacks_what_it_shows_of_exceptions(
    both: tuple[RpcServer, RpcClient], told: Literal["full", "user", "none"], shown: list[str]
) -> None:
    server, client = both
    server.add_service(waits, remote_traceback=told)
    await server.wait_serving()
    call = asyncio.create_task(client.call(waits, SECRET))
    (stack,) = (await _running(client, 1)).calls[0].stacks
    assert sorted({"user" if place.user else "library" for place in stack.places}, reverse=True) == shown
    assert bool(stack.note) is (told == "none")
    go.set()
    await soon(call)


async def test_at_most_100_calls_are_told_the_oldest_first(both: tuple[RpcServer, RpcClient]) -> None:
    server, client = both
    server.add_service(waits, queue_size=1000, fetch_size=300)
    await server.wait_serving()
    calls = [asyncio.create_task(client.call(waits, SECRET)) for _ in range(250)]
    told = await _running(client, 250)
    assert len(told.calls) == 100
    ages = [call.age for call in told.calls]
    assert ages == sorted(ages, reverse=True)
    go.set()
    await soon(asyncio.gather(*calls))


async def test_nobody_hears_of_calls_of_services_that_are_not_for_him(both: tuple[RpcServer, RpcClient]) -> None:
    server, client = both
    server.add_service(waits)
    server.add_service(in_a_thread, allow=["somebody else"])
    await server.wait_serving()
    call = asyncio.create_task(client.call(waits, SECRET))
    told = await _running(client, 1)
    assert [each.service for each in told.calls] == ["waits"]
    (hidden,) = await client.running_calls(service="in_a_thread", timeout=30)
    assert (hidden.count, hidden.calls) == (0, ())
    go.set()
    await soon(call)


@pytest.mark.skipif(sys.platform == "win32", reason="child processes of services need POSIX")
@pytest.mark.parametrize(
    ("function", "place", "note"),
    [
        (functions.compute_until, "compute_until", ""),
        (functions.wait_until, "wait_until", ""),
        (functions.busy_in_c, "busy_in_c", "its interpreter is busy; as it stands in C"),
    ],
)
async def test_a_child_process_is_asked_also_while_it_computes(
    function: Callable[..., Any], place: str, note: str, tmp_path: Path
) -> None:
    async with served(function) as (_, client):
        call = asyncio.create_task(client.call(function, str(tmp_path)))
        await until((tmp_path / "began").exists)
        for _ in range(2):  # the child serves on
            told = await _running(client, 1)
            (stack,) = told.calls[0].stacks
            assert stack.where.startswith("child process ")
            assert place in [each.function for each in stack.places if each.user]
            assert stack.note == note
            assert str(tmp_path) not in str(stack)
        (tmp_path / "go").touch()
        if note:
            call.cancel()  # its child is killed
        else:
            assert await soon(call) == "done"


@pytest.mark.skipif(sys.platform == "win32", reason="child processes of services need POSIX")
async def test_a_worker_whose_child_is_asked_for_long_is_waited_for(tmp_path: Path) -> None:
    """The others have answered long before."""
    broker = MemoryBroker()
    busy, idle = (RpcServer(transport=broker.transport(), name=name) for name in ("busy", "idle"))
    busy.add_service(functions.busy_in_c, executor="process", fetch_size=1)
    async with busy.serving(), idle.serving(), RpcClient(transport=broker.transport()) as client:
        call = asyncio.create_task(client.call(functions.busy_in_c, str(tmp_path)))
        await until((tmp_path / "began").exists)
        told = await client.running_calls(timeout=60)
        assert [(one.worker, one.count) for one in told] == [("busy", 1), ("idle", 0)]
        (stack,) = told[0].calls[0].stacks
        assert stack.note == "its interpreter is busy; as it stands in C"
        call.cancel()


def test_answers_that_cannot_be_read_are_left_out() -> None:
    good = RunningCall("add", "id", 1.5, None, 2, "caller", True, (CallStack("task", (Place("a.py", 3, "add"),)),))
    odd = [
        None,
        1,
        {},
        {"service": ""},
        {"service": "x", "stacks": [{}, 7, {"where": "y", "places": [None]}], "age": "z"},
    ]
    value = WorkerCalls("w", "id", count=1, calls=(good,)).to_json()
    value["calls"] = [*value["calls"], *odd]  # type: ignore[misc]
    from json import dumps, loads

    found = WorkerCalls.from_json(loads(dumps(value)), "w", "id")
    assert found.calls == (good, RunningCall("x", "", 0.0, None, 0, "", False, (CallStack("y"),)))
    assert WorkerCalls.from_json({"calls": 7, "count": -1}, "w", "id", "no") == WorkerCalls("w", "id", refused="no")
