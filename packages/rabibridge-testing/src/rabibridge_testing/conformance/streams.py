"""Streams: items come in order and once, a reader that waits stops the function, and every stream ends."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core.errors import (
    CallTimeoutError,
    InvalidArgumentsError,
    NoRouteError,
    RemoteExecutionError,
)
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from rabibridge_testing.conformance.harness import Bench

__all__ = ["Endless", "StreamConformance", "function_of", "read_all"]


class Endless:
    """A function that gives numbers until it is stopped, and notes how far it came."""

    def __init__(self, size: int = 0) -> None:
        """Give numbers, or bodies of that size."""
        self.given = 0
        self.ended = asyncio.Event()
        self._body = os.urandom(size) if size else None

    async def run(self) -> AsyncGenerator[Any]:
        """Give them."""
        self.given = 0
        try:
            while True:
                yield self.given if self._body is None else self._body
                self.given += 1
        finally:
            self.ended.set()


class StreamConformance(ConformanceBase):
    """``client.stream`` of async generators and generators."""

    async def test_items_come_in_order_and_once(self, bench: Bench) -> None:
        name, in_thread = bench.name(), bench.name()

        async def count(end: int) -> AsyncIterator[int]:
            for number in range(end):
                yield number
                if number % 1000 == 0:
                    await asyncio.sleep(0)

        def rows(end: int) -> Iterator[str]:
            for number in range(end):
                yield f"row {number}"

        await bench.server(service(count, name), service(rows, in_thread))
        client = await bench.rpc_client()
        source = client.stream(name, 10_000)
        assert await soon(read_all(source)) == list(range(10_000))
        assert source.received == 10_000
        assert await soon(read_all(client.stream(in_thread, 500))) == [f"row {number}" for number in range(500)]
        assert await soon(read_all(client.stream(name, 0))) == []
        assert client.pending == 0

    async def test_items_of_many_sizes(self, bench: Bench) -> None:
        name = bench.name()
        items = [os.urandom(size) for size in (1, 100_000, 0, 64 * 1024, 3_000_000, 1, 65_537, 2_000_000)]

        async def blobs() -> AsyncIterator[bytes]:
            for item in items:
                yield item

        await bench.server(service(blobs, name))
        client = await bench.rpc_client()
        assert await soon(read_all(client.stream(name))) == items

    async def test_an_item_arrives_before_the_next_one_is_made(self, bench: Bench) -> None:
        name, go_on = bench.name(), asyncio.Event()

        async def work() -> AsyncIterator[int]:
            yield 1
            await go_on.wait()
            yield 2

        await bench.server(service(work, name))
        source = (await bench.rpc_client()).stream(name)
        assert await soon(anext(source)) == 1
        go_on.set()
        assert await soon(read_all(source)) == [2]

    async def test_a_reader_that_waits_stops_the_function(self, bench: Bench) -> None:
        name, endless = bench.name(), Endless(64 * 1024)
        await bench.server(service(function_of(endless), name))
        source = (await bench.rpc_client()).stream(name)
        await soon(anext(source))
        await _still(lambda: endless.given)
        ahead = endless.given
        assert ahead <= 80, "some MiB: the windows on both sides, and what is gathered"
        for _ in range(ahead + 20):
            await soon(anext(source))
        await until(lambda: endless.given > ahead)
        await source.aclose()
        await soon(endless.ended.wait())

    async def test_one_that_nobody_reads_does_not_hold_up_another(self, bench: Bench) -> None:
        name, endless, other = bench.name(), Endless(64 * 1024), bench.name()

        async def blobs() -> AsyncIterator[bytes]:
            for _ in range(200):
                yield bytes(64 * 1024)

        await bench.server(service(function_of(endless), name), service(blobs, other))
        client = await bench.rpc_client()
        unread = client.stream(name)
        await soon(anext(unread))
        assert len(await soon(read_all(client.stream(other)))) == 200
        await unread.aclose()

    async def test_leaving_the_loop_stops_the_function(self, bench: Bench) -> None:
        name, endless = bench.name(), Endless()
        await bench.server(service(function_of(endless), name, fetch_size=1))
        client = await bench.rpc_client()
        for _ in range(5):
            async for item in client.stream(name):
                if item >= 10:
                    break
            await soon(endless.ended.wait())
            endless.ended.clear()
        assert await soon(anext(client.stream(name))) == 0, "the place is free again"
        await until(lambda: client.pending == 0)

    async def test_a_generator_in_a_thread_is_stopped(self, bench: Bench) -> None:
        name, ended = bench.name(), threading.Event()

        def rows() -> Iterator[bytes]:
            try:
                while True:
                    yield os.urandom(64 * 1024)
            finally:
                ended.set()

        await bench.server(service(rows, name))
        client = await bench.rpc_client()
        async with client.stream(name) as source:
            await soon(anext(source))
        await until(ended.is_set)

    async def test_an_error_comes_after_the_items_before_it(self, bench: Bench) -> None:
        name = bench.name()

        async def work() -> AsyncIterator[int]:
            yield 1
            yield 2
            raise ValueError("no more")

        await bench.server(service(work, name))
        got, error = await _read(bench, name)
        assert got == [1, 2]
        assert isinstance(error, RemoteExecutionError)
        assert (error.received, error.error_message) == (2, "no more")

    async def test_the_timeout_ends_it_on_both_sides(self, bench: Bench) -> None:
        name, endless = bench.name(), Endless()
        await bench.server(service(function_of(endless), name))
        source = (await bench.rpc_client()).options(timeout=1.0).stream(name)
        with pytest.raises(CallTimeoutError, match="no end of the stream") as caught:
            await soon(read_all(source))
        assert caught.value.received == source.received > 0
        await soon(endless.ended.wait())

    async def test_the_idle_timeout(self, bench: Bench) -> None:
        name, ended = bench.name(), asyncio.Event()

        async def work() -> AsyncIterator[int]:
            yield 1
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        await bench.server(service(work, name))
        source = (await bench.rpc_client()).options(idle_timeout=1.0).stream(name)
        assert await soon(anext(source)) == 1
        with pytest.raises(CallTimeoutError, match="idle_timeout") as caught:
            await soon(anext(source))
        assert caught.value.received == 1
        await soon(ended.wait())

    async def test_what_is_no_stream(self, bench: Bench) -> None:
        name, streaming = bench.name(), bench.name()

        async def plain() -> int:
            return 1

        async def items() -> AsyncIterator[int]:
            yield 1

        await bench.server(service(plain, name), service(items, streaming))
        client = await bench.rpc_client()
        for refused in (read_all(client.stream(name)), client.call(streaming)):
            with pytest.raises(InvalidArgumentsError, match="use client") as caught:
                await soon(refused)
            assert caught.value.executed is False
        with pytest.raises(NoRouteError):
            await soon(read_all(client.stream(bench.name())))


def function_of(endless: Endless) -> Any:
    """Return a function of its own for a service: a bound method cannot be renamed."""

    async def run() -> AsyncIterator[Any]:
        async with aclosing(endless.run()) as items:
            async for item in items:
                yield item

    return run


async def _still(figure: Any) -> None:
    """Wait until a figure does not change any more."""
    last = -1
    async with asyncio.timeout(PATIENCE):
        while last != figure():
            last = figure()
            await asyncio.sleep(0.3)


async def read_all(source: Any) -> list[Any]:
    """Read a stream to its end."""
    return [item async for item in source]


async def _read(bench: Bench, name: str) -> tuple[list[Any], BaseException | None]:
    got: list[Any] = []
    source = (await bench.rpc_client()).stream(name)
    try:
        async for item in source:
            got.append(item)
    except RemoteExecutionError as error:
        return got, error
    return got, None
