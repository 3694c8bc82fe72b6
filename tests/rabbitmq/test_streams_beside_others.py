"""Streams that are slow, never read, cancelled or greedy cost neither each other nor plain calls anything."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import pytest

from rabibridge import CallTimeoutError
from rabibridge_core.transport import ConnectionState
from tests.support.waiting import PATIENCE, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.rabbitmq.support import Stage

_LARGE = 64 * 1024


async def test_cancelled_generators_give_their_threads_back(stage: Stage) -> None:
    size, entered, ended = 2, threading.Semaphore(0), threading.Semaphore(0)

    def endless() -> Iterator[bytes]:
        entered.release()
        try:
            while True:
                yield bytes(_LARGE)
        finally:
            ended.release()

    def numbers(count: int) -> Iterator[int]:
        yield from range(count)

    def plain(number: int) -> int:
        return 2 * number

    names = [stage.register(func, fetch_size=size) for func in (endless, numbers, plain)]
    server = await stage.server(endless, numbers, plain)
    client = await stage.client()
    await soon(server.wait_serving())
    threads = 0
    for number in range(10):
        streams = [client.stream(names[0]) for _ in range(size)]
        for stream in streams:
            assert await soon(anext(stream)) == bytes(_LARGE)
        state = streams[-1]._source._run
        assert state is not None
        await until(lambda state=state: state.state.stands_still)  # type: ignore[misc]
        for stream in streams:
            await stream.aclose()
        for _ in range(size):
            assert await asyncio.to_thread(ended.acquire, timeout=PATIENCE)
        threads = threads or threading.active_count()
        assert number == 0 or threading.active_count() <= threads + 1, "to_thread may start another one"
    assert await soon(client.call(names[2], 21)) == 42
    assert [item async for item in client.stream(names[1], 3)] == [0, 1, 2]
    last = client.stream(names[0])
    assert len(await soon(anext(last))) == _LARGE
    await last.aclose()


async def test_a_function_that_yields_without_waiting_holds_up_neither_calls_nor_its_cancellation(
    stage: Stage,
) -> None:
    ended = asyncio.Event()

    async def greedy() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x"
        finally:
            ended.set()

    async def add(left: int, right: int) -> int:
        return left + right

    names = [stage.register(func) for func in (greedy, add)]
    server = await stage.server(greedy, add)
    client = await stage.client()
    stream = client.stream(names[0])
    seen: list[int] = []

    async def read() -> None:
        async for _ in stream:
            pass

    assert await soon(anext(stream)) == b"x"
    reading = asyncio.ensure_future(read())
    for number in range(10):
        before = stream.received
        await until(lambda before=before: stream.received > before)  # type: ignore[misc]
        assert await soon(client.call(names[1], number, 1)) == number + 1
        seen.append(stream.received)
    assert sorted(set(seen)) == seen, "it went on between all of them"
    assert len(await soon(client.workers())) == 1
    assert server.state is ConnectionState.READY
    reading.cancel()
    await asyncio.wait([reading])
    await stream.aclose()
    await soon(ended.wait())


async def test_a_stream_that_feeds_another_call_takes_no_more_than_both_windows(stage: Stage) -> None:
    count, block = 200, 25
    made = stored = most = 0

    async def read() -> AsyncIterator[bytes]:
        nonlocal made
        for number in range(count):
            if number // block % 2 == 0:
                await asyncio.sleep(0.001)
            made += 1
            yield os.urandom(_LARGE)

    async def store(items: AsyncIterator[bytes]) -> int:
        nonlocal stored, most
        async for item in items:
            if stored // block % 2 == 1:
                await asyncio.sleep(0.001)
            most = max(most, made - stored)
            stored += len(item) == _LARGE
        return stored

    names = [stage.register(func) for func in (read, store)]
    await stage.server(read, store)
    client = await stage.client()
    assert await soon(client.call(names[1], client.stream(names[0]))) == count
    # 1 MiB and a message beyond on each way, and what is gathered: 240 KiB before the first, 64 KiB before the second.
    assert most * _LARGE < 3 * 1024 * 1024
    assert client.pending == 0


async def test_one_of_a_hundred_streams_that_nobody_reads(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    async def items(count: int) -> AsyncIterator[bytes]:
        for _ in range(count):
            yield bytes(4096)

    name = await stage.serve(items, fetch_size=100)
    monkeypatch.setenv("RABIBRIDGE_MAX_BODY", str(_LARGE))  # which makes the window 48 KiB
    monkeypatch.setenv("RABIBRIDGE_COMPRESS_THRESHOLD", str(2 * _LARGE))
    client = await stage.client()
    unread = client.stream(name, 10**9)
    assert len(await soon(anext(unread))) == 4096
    run = unread._source._run
    assert run is not None
    await until(lambda: run.state.stands_still)

    async def whole() -> int:
        return len([item async for item in client.stream(name, 50)])

    assert await soon(asyncio.gather(*(whole() for _ in range(99)))) == [50] * 99
    assert len(await soon(anext(unread))) == 4096
    await unread.aclose()


async def test_a_caller_that_uploads_everything_before_it_reads(stage: Stage) -> None:
    count = 10_000

    async def echo(items: AsyncIterator[bytes | int]) -> AsyncIterator[bytes | int]:
        async for item in items:
            yield item

    closed = asyncio.Event()

    async def source(size: int) -> AsyncIterator[bytes | int]:
        try:
            for number in range(count):
                yield os.urandom(size) if size else number
        finally:
            closed.set()

    name = await stage.serve(echo)
    client = await stage.client()
    small = client.stream(name, source(0))
    found = [await soon(anext(small))]  # the first step sends the call
    await soon(closed.wait())
    found += [item async for item in small]
    assert found == list(range(count))

    closed.clear()
    large = client.options(timeout=2).stream(name, source(1000))
    await soon(anext(large))
    await soon(closed.wait())
    with pytest.raises(CallTimeoutError, match="no end of the stream, whose function waits until its reader goes on,"):
        await soon(anext(large))
    assert client.pending == 0
