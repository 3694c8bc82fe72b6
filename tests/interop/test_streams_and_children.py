"""Streams, uploads and child processes beside versions that know none: 0.1.2, and the version before this one."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import CallTimeoutError, Progress, RemoteExecutionError, RMQClient, RMQServer
from tests.interop.test_peer_calls_us import outcome
from tests.interop.test_previous import line, previous, running
from tests.support.waiting import soon
from tests.unit import process_functions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.interop.conftest import Peers

__all__ = ["previous"]

_STREAMS = "streams its items, and has no single result: use client.stream"
_CRASHED = "rabibridge_core.errors.WorkerCrashedError: the child process that ran this call exited with code 7"
posix = pytest.mark.skipif(sys.platform == "win32", reason="child processes of services need POSIX")


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def total(items: AsyncIterator[int]) -> int:
    return sum([item async for item in items])


async def _both(client: RMQClient, name: str, seconds: float) -> list[BaseException]:
    """Feed a function, and read its items; return the errors."""
    view = client.options(timeout=seconds, kind="async")
    steps: list[Awaitable[Any]] = [view.call(name, iter([1]), 2), anext(view.stream(name, 1, 2))]
    found = await soon(asyncio.gather(*steps, return_exceptions=True))
    assert all(isinstance(each, Exception) for each in found), found
    return found


async def test_a_worker_of_the_version_before_refuses_streams_and_uploads_and_serves_the_rest(
    previous: Path, vhost_url: str, unique_name: Callable[[str], str]
) -> None:
    config = {"url": vhost_url, "prefix": unique_name("previous") + "_", "any": "any"}
    name, reports = config["prefix"] + "add", list[Progress]()
    async with running(previous, "serves.py", config) as worker, RMQClient(url=vhost_url) as client:
        assert "ready" in await line(worker)
        for error in await _both(client, name, 20.0):
            assert isinstance(error, RemoteExecutionError)
            assert error.executed is False
            assert "version without streams and uploads" in error.__notes__[-1]
        batch = client.options(on_progress=reports.append, criticality="batch")
        assert await soon(batch.call(name, 1, 2)) == 3
        assert reports == []


async def test_a_worker_of_0_1_2_answers_no_stream_and_no_upload_and_serves_the_rest(
    peers: Peers, client: RMQClient, service_name: str
) -> None:
    await asyncio.to_thread(peers.server, service_name)
    for error in await _both(client, service_name, 2.0):
        assert isinstance(error, CallTimeoutError)
    assert await soon(client.options(kind="async").call(service_name, "echo", 1)) == 1


@posix
async def test_a_caller_of_the_version_before_calls_what_streams_what_is_fed_and_what_crashes(
    previous: Path, vhost_url: str, unique_name: Callable[[str], str]
) -> None:
    server, prefix = RMQServer(url=vhost_url), unique_name("new") + "_"
    for func in (numbers, total):
        server.add_service(func, name=prefix + func.__name__, timeout=60)
    server.add_service(process_functions.end, name=prefix + "end", executor="process", fetch_size=1, timeout=60)
    calls = [
        [prefix + "numbers", [3], "async"], [prefix + "total", [[1, 2]], "async"], [prefix + "total", [], "async"],
        [prefix + "end", ["exit"], "sync"], [prefix + "end", ["awkward"], "sync"],
    ]  # fmt: skip
    async with server.serving():
        await soon(server.wait_serving())
        async with running(previous, "fails.py", {"url": vhost_url, "calls": calls}) as client:
            streams, fed, unfed, crashed, raised = [await line(client) for _ in calls]
    assert streams[0][0] == unfed[0][0] == "InvalidArgumentsError"
    assert streams[1] is unfed[1] is False
    assert _STREAMS in streams[3]
    assert "missing 1 required positional argument: 'items'" in unfed[3]
    assert fed == ["no error", 3], "a list of values needs no upload"
    assert crashed[:3] == [
        ["RemoteExecutionError", "CallError", "RabiBridgeError"], True, "rabibridge_core.errors.WorkerCrashedError",
    ]  # fmt: skip
    assert crashed[3].endswith(_CRASHED)
    assert raised[1:3] == [True, "tests.unit.process_functions.Awkward"]


@posix
async def test_a_caller_of_0_1_2_calls_what_streams_what_is_fed_and_what_crashes(
    peers: Peers, url: str, service_name: str
) -> None:
    peer = await asyncio.to_thread(peers.client, "msgpack")

    async def of(func: Callable[..., Any], *calls: tuple[Any, ...], kind: str = "async", **limits: Any) -> list[Any]:
        server = RMQServer(url=url)
        server.add_service(func, name=service_name, timeout=60, **limits)
        async with server.serving():
            await soon(server.wait_serving())
            return [await outcome(peer, service_name, *args, kind=kind) for args in calls]

    streams, fed, unfed = *await of(numbers, (3,)), *await of(total, ([1, 2],), ())
    (crashed,) = await of(process_functions.end, ("exit",), kind="sync", executor="process", fetch_size=1)
    assert fed["result"] == 3
    for failed, text in ((streams, _STREAMS), (unfed, "missing 1 required"), (crashed, _CRASHED)):
        assert failed["errors"][0] == "rabibridge.exceptions.RemoteExecutionError"
        assert text in failed["text"]
