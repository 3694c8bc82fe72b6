"""Arguments that are fed from an iterator of the caller: in order and once, as fast as the function reads."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core.errors import ConnectionLostError, RemoteExecutionError, StreamError
from rabibridge_testing.conformance.harness import ConformanceBase, service, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from rabibridge_testing.conformance.harness import Bench, BreakConnection

__all__ = ["UploadConformance"]


class _Source:
    """An iterator of a caller, and what became of it."""

    def __init__(self, end: int | None = None, size: int = 0) -> None:
        self.drawn = 0
        self.closed = asyncio.Event()
        self._end, self._size = end, size

    async def run(self) -> AsyncGenerator[Any]:
        try:
            while self._end is None or self.drawn < self._end:
                self.drawn += 1
                yield os.urandom(self._size) if self._size else self.drawn - 1
        finally:
            self.closed.set()


class UploadConformance(ConformanceBase):
    """``client.call`` and ``client.stream`` with an iterator as argument."""

    async def test_items_arrive_in_order_and_once(self, bench: Bench) -> None:
        name, in_thread = bench.name(), bench.name()

        async def collect(items: AsyncIterator[int], factor: int) -> list[int]:
            return [factor * item async for item in items]

        def count(items: Iterator[str]) -> int:
            return sum(1 for _ in items)

        await bench.server(service(collect, name), service(count, in_thread))
        client, source = await bench.rpc_client(), _Source(10_000)
        assert await soon(client.call(name, source.run(), 2)) == [2 * item for item in range(10_000)]
        assert source.closed.is_set()
        assert await soon(client.call(name, items=iter([1, 2]), factor=1)) == [1, 2]
        assert await soon(client.call(name, iter([]), 1)) == []
        assert await soon(client.call(in_thread, (f"row {number}" for number in range(300)))) == 300
        assert client.pending == 0

    async def test_a_function_that_waits_stops_the_iterator(self, bench: Bench) -> None:
        name, go_on, source = bench.name(), asyncio.Event(), _Source(200, 64 * 1024)

        async def slow(items: AsyncIterator[bytes]) -> int:
            count = 0
            async for _ in items:
                count += 1
                await go_on.wait()
            return count

        await bench.server(service(slow, name))
        client = await bench.rpc_client()
        call = asyncio.ensure_future(client.call(name, source.run()))
        await until(lambda: source.drawn > 0)
        await asyncio.sleep(0.5)
        assert source.drawn < 60, "1 MiB and what is gathered"
        go_on.set()
        assert await soon(call) == 200

    async def test_both_directions_at_once(self, bench: Bench) -> None:
        name = bench.name()

        async def double(items: AsyncIterator[int]) -> AsyncIterator[int]:
            async for item in items:
                yield 2 * item

        await bench.server(service(double, name))
        client = await bench.rpc_client()
        source = client.stream(name, _Source(10_000).run())
        assert [item async for item in source] == [2 * item for item in range(10_000)]

    async def test_the_items_of_a_stream_feed_another_call(self, bench: Bench) -> None:
        reading, storing = bench.name(), bench.name()

        async def read(count: int) -> AsyncIterator[bytes]:
            for _ in range(count):
                yield os.urandom(64 * 1024)

        async def store(items: AsyncIterator[bytes]) -> int:
            size = 0
            async for item in items:
                size += len(item)
            return size

        await bench.server(service(read, reading), service(store, storing))
        client = await bench.rpc_client()
        assert await soon(client.call(storing, client.stream(reading, 100))) == 100 * 64 * 1024
        assert client.pending == 0

    async def test_the_iterator_fails(self, bench: Bench) -> None:
        name, seen = bench.name(), list[BaseException]()

        async def store(items: AsyncIterator[int]) -> int:
            try:
                return sum([item async for item in items])
            except Exception as error:
                seen.append(error)
                raise

        async def failing() -> AsyncIterator[int]:
            yield 1
            yield 2
            raise ValueError("the disk is gone")

        await bench.server(service(store, name, fetch_size=1))
        client = await bench.rpc_client()
        with pytest.raises(ValueError, match="the disk is gone"):
            await soon(client.call(name, failing()))
        await until(lambda: seen)
        assert isinstance(seen[0], StreamError)
        assert await soon(client.call(name, iter([1, 2]))) == 3, "the place is free again"

    async def test_the_caller_is_cancelled(self, bench: Bench) -> None:
        name, ended, source = bench.name(), asyncio.Event(), _Source()

        async def store(items: AsyncIterator[int]) -> None:
            try:
                async for _ in items:
                    pass
            finally:
                ended.set()

        await bench.server(service(store, name))
        call = asyncio.ensure_future((await bench.rpc_client()).call(name, source.run()))
        await until(lambda: source.drawn > 1000)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        assert source.closed.is_set()
        await soon(ended.wait())

    async def test_the_function_ends_before_the_iterator(self, bench: Bench) -> None:
        name, failing = bench.name(), bench.name()

        async def first(items: AsyncIterator[int]) -> int:
            async for item in items:
                return item
            return -1

        async def fails(items: AsyncIterator[int]) -> int:
            async for _ in items:
                raise LookupError("enough")
            return -1

        await bench.server(service(first, name), service(fails, failing))
        client, source = await bench.rpc_client(), _Source()
        assert await soon(client.call(name, source.run())) == 0
        assert source.closed.is_set()
        source = _Source()
        with pytest.raises(RemoteExecutionError, match="enough"):
            await soon(client.call(failing, source.run()))
        assert source.closed.is_set()

    async def test_the_function_goes_on_after_the_end_of_the_upload(self, bench: Bench) -> None:
        name = bench.name()

        async def after(items: AsyncIterator[int]) -> AsyncIterator[int]:
            total = sum([item async for item in items])
            for number in range(1000):
                yield total + number

        await bench.server(service(after, name))
        source = (await bench.rpc_client()).stream(name, _Source(100).run())
        assert [item async for item in source] == list(range(4950, 5950))

    async def test_the_connection_of_the_caller_is_lost(self, bench: Bench, break_connection: BreakConnection) -> None:
        name, ended, source = bench.name(), asyncio.Event(), _Source()

        async def store(items: AsyncIterator[int]) -> None:
            try:
                async for _ in items:
                    pass
            finally:
                ended.set()

        await bench.server(service(store, name))
        client = await bench.rpc_client()
        call = asyncio.ensure_future(client.options(idempotent=True).call(name, source.run()))
        await until(lambda: source.drawn > 1000)
        await break_connection(client._client.transport)
        with pytest.raises(ConnectionLostError):
            await soon(call)
        assert source.closed.is_set()
        await soon(ended.wait())

    async def test_the_connection_of_the_worker_is_lost(self, bench: Bench, break_connection: BreakConnection) -> None:
        name, source = bench.name(), _Source()

        async def store(items: AsyncIterator[int]) -> None:
            async for _ in items:
                pass

        server = await bench.server(service(store, name))
        client = await bench.rpc_client()
        call = asyncio.ensure_future(client.call(name, source.run()))
        await until(lambda: source.drawn > 1000)
        await break_connection(server.transport)
        with pytest.raises(StreamError, match="cannot be sent again"):
            await soon(call)
        assert source.closed.is_set()
