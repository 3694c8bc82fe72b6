"""Client and server on the transport: what ends a stream, and what is left of it."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import (
    CallTimeoutError,
    ConnectionLostError,
    InvalidArgumentsError,
    RemoteExecutionError,
    StreamError,
)
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    from rabibridge_core._server.server import Server
    from rabibridge_testing.conformance.harness import Bench, BreakConnection

__all__ = ["StreamEndingConformance"]

_ITEM = 8 * 1024
_KINDS = pytest.mark.parametrize("thread", [False, True], ids=["async", "thread"])


class _Source:
    """A function that yields its index and 8 KiB, and counts how often it runs."""

    def __init__(self) -> None:
        self.running = 0
        self.runs = 0
        self.yielded = 0

    def service(self, name: str, *, thread: bool = False, **limits: Any) -> ServiceSchema:
        func = self._in_thread if thread else self._on_loop
        return ServiceSchema.of(func, ServiceLimits(**limits), name)

    async def _on_loop(self, number: int = 10**9, *, start_at: int = 0) -> AsyncIterator[Any]:
        with closing(self._in_thread(number, start_at=start_at)) as items:
            for item in items:
                await asyncio.sleep(0)
                yield item

    def _in_thread(self, number: int = 10**9, *, start_at: int = 0) -> Generator[Any, None, None]:
        self.running += 1
        self.runs += 1
        try:
            for index in range(start_at, number):
                self.yielded = index + 1
                yield [index, b"x" * _ITEM]
        finally:
            self.running -= 1


async def _read(stream: Any, number: int, first: int = 0) -> None:
    """Read so many items, and see that they are in order."""
    for index in range(first, first + number):
        item = await soon(anext(stream))
        assert (item[0], len(item[1])) == (index, _ITEM)


async def _rest(stream: Any) -> None:
    """Read all that still comes."""
    async with asyncio.timeout(PATIENCE):
        async for _ in stream:
            pass


async def _idle(source: _Source, *servers: Server) -> None:
    """Wait until no function runs, and no place is taken."""
    await until(lambda: not source.running and not any(server.active_requests for server in servers))


class StreamEndingConformance(ConformanceBase):
    """Every stream ends: with all of its items or with one exact error, and without a trace on the worker."""

    @_KINDS
    async def test_whoever_stops_reading_stops_the_function(self, bench: Bench, thread: bool) -> None:
        name, source = bench.name("source"), _Source()
        server = await bench.server(source.service(name, thread=thread, fetch_size=1))
        client = await bench.rpc_client()
        for turn in range(3):  # the next one shows that the place is free
            async with client.stream(name) as stream:
                await _read(stream, 1 + 300 * turn)
            await _idle(source, server)
        stream = client.stream(name, 500)
        await _read(stream, 500)
        with pytest.raises(StopAsyncIteration):
            await soon(anext(stream))
        assert source.runs == 4

    @_KINDS
    async def test_a_reader_that_stands_still_stops_the_function_at_its_yield(self, bench: Bench, thread: bool) -> None:
        name, source = bench.name("source"), _Source()
        server = await bench.server(source.service(name, thread=thread))
        client = await bench.rpc_client()
        async with client.stream(name) as stream:
            await _read(stream, 1)
            before = -1
            while source.yielded != before:
                before = source.yielded
                await asyncio.sleep(0.2)
            assert source.yielded * _ITEM < 8 * 2**20
            await _read(stream, before + 100, 1)
            assert source.running == 1
        await _idle(source, server)

    @_KINDS
    async def test_the_deadline_ends_both_sides(self, bench: Bench, thread: bool) -> None:
        name, source = bench.name("source"), _Source()
        server = await bench.server(source.service(name, thread=thread))
        client = await bench.rpc_client()
        stream = client.options(timeout=1.0).stream(name)
        await _read(stream, 5)
        await _idle(source, server)
        with pytest.raises(CallTimeoutError) as late:
            await _rest(stream)
        assert late.value.received == stream.received >= 5

    async def test_an_error_comes_after_the_items_before_it(self, bench: Bench) -> None:
        async def failing(number: int) -> AsyncIterator[int]:
            for index in range(number):
                yield index
            raise KeyError("lost")

        name = bench.name("failing")
        await bench.server(ServiceSchema.of(failing, ServiceLimits(), name))
        client = await bench.rpc_client()
        for number in (0, 1, 1000):
            stream = client.stream(name, number)
            assert [await soon(anext(stream)) for _ in range(number)] == list(range(number))
            with pytest.raises(RemoteExecutionError) as failed:
                await _rest(stream)
            assert (failed.value.error_type, failed.value.received) == ("builtins.KeyError", number)

    async def test_streams_and_calls_are_told_apart(self, bench: Bench) -> None:
        ran: list[int] = []

        async def plain() -> None:
            ran.append(1)

        name, other, source = bench.name("source"), bench.name("plain"), _Source()
        await bench.server(source.service(name), ServiceSchema.of(plain, ServiceLimits(), other))
        client = await bench.rpc_client()
        with pytest.raises(InvalidArgumentsError, match=r"client\.stream") as refused:
            await soon(client.remote_call(name))
        assert refused.value.executed is False
        with pytest.raises(InvalidArgumentsError) as refused:
            await soon(anext(client.stream(other)))
        assert (refused.value.executed, ran, source.runs) == (False, [], 0)

    @_KINDS
    async def test_the_client_loses_its_connection(
        self, bench: Bench, break_connection: BreakConnection, thread: bool
    ) -> None:
        name, source = bench.name("source"), _Source()
        server = await bench.server(source.service(name, thread=thread))
        client = await bench.rpc_client()
        stream = client.options(timeout=PATIENCE).stream(name)
        await _read(stream, 5)
        await break_connection(client._client.transport)
        with pytest.raises(ConnectionLostError) as lost:
            await _rest(stream)
        assert lost.value.received == stream.received
        await _idle(source, server)
        async with client.stream(name) as again:
            await _read(again, 5)

    @_KINDS
    @pytest.mark.parametrize("side", ["client", "server"])
    async def test_a_resumable_stream_goes_on_after_a_loss(
        self, bench: Bench, break_connection: BreakConnection, thread: bool, side: str
    ) -> None:
        name, source = bench.name("source"), _Source()
        server = await bench.server(source.service(name, thread=thread, resumable=True))
        client = await bench.rpc_client()
        stream = client.options(timeout=PATIENCE).stream(name, 1000)
        await _read(stream, 5)
        await break_connection(client._client.transport if side == "client" else server.transport)
        await _read(stream, 995, 5)
        with pytest.raises(StopAsyncIteration):
            await soon(anext(stream))
        assert source.runs >= 2
        await _idle(source, server)

    @_KINDS
    async def test_the_worker_loses_its_connection(
        self, bench: Bench, break_connection: BreakConnection, thread: bool
    ) -> None:
        name, source = bench.name("source"), _Source()
        server = await bench.server(source.service(name, thread=thread))
        client = await bench.rpc_client()
        stream = client.options(timeout=PATIENCE).stream(name)
        await _read(stream, 5)
        await break_connection(server.transport)
        with pytest.raises(StreamError) as lost:
            await _rest(stream)
        assert lost.value.received == stream.received >= 5
        await _idle(source, server)

    @_KINDS
    async def test_a_worker_that_stops_ends_its_streams(self, bench: Bench, thread: bool) -> None:
        name, source = bench.name("source"), _Source()
        server = await bench.server(source.service(name, thread=thread), drain_timeout=0)
        client = await bench.rpc_client()
        stream = client.options(timeout=PATIENCE).stream(name)
        await _read(stream, 5)
        await soon(server.close())
        assert source.running == 0
        with pytest.raises(StreamError) as stopped:
            await _rest(stream)
        assert stopped.value.received == stream.received

    @_KINDS
    async def test_another_worker_goes_on_with_a_resumable_stream(self, bench: Bench, thread: bool) -> None:
        name, source, other = bench.name("source"), _Source(), _Source()
        server = await bench.server(source.service(name, thread=thread, resumable=True), drain_timeout=0)
        client = await bench.rpc_client()
        stream = client.options(timeout=PATIENCE).stream(name, 1000)
        await _read(stream, 5)
        second = await bench.server(other.service(name, thread=thread, resumable=True))
        await soon(server.close())
        await _read(stream, 995, 5)
        with pytest.raises(StopAsyncIteration):
            await soon(anext(stream))
        assert (source.runs, other.runs) == (1, 1)
        await _idle(other, second)

    async def test_many_streams_that_nobody_reads_to_the_end(self, bench: Bench) -> None:
        name, source = bench.name("source"), _Source()
        server = await bench.server(source.service(name))
        client = await bench.rpc_client()
        for _ in range(20):
            streams = [client.stream(name) for _ in range(10)]
            await soon(asyncio.gather(*(_read(stream, 3) for stream in streams)))
            for stream in streams:
                await stream.aclose()
                await stream.aclose()
        await _idle(source, server)
        await _read(client.stream(name, 100), 100)
