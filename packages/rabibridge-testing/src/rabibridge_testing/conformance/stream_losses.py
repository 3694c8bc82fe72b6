"""Streams whose connection or worker is lost: they go on where that is possible, and else say how far they came."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.errors import ConnectionLostError, StreamError
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon
from rabibridge_testing.conformance.streams import Endless, function_of, read_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_testing.conformance.harness import Bench, BreakConnection

__all__ = ["StreamLossConformance"]


class StreamLossConformance(ConformanceBase):
    """``resumable=True``, and what becomes of other streams."""

    async def test_the_connection_of_the_caller_is_lost(self, bench: Bench, break_connection: BreakConnection) -> None:
        name, endless = bench.name(), Endless()
        await bench.server(service(function_of(endless), name))
        client = await bench.rpc_client()
        source = client.stream(name)
        assert await soon(anext(source)) == 0
        await break_connection(client._client.transport)
        with pytest.raises(ConnectionLostError) as caught:
            await soon(read_all(source))
        assert caught.value.received == source.received > 0
        await soon(endless.ended.wait())

    async def test_a_resumable_one_goes_on_after_a_loss(self, bench: Bench, break_connection: BreakConnection) -> None:
        name, begun, resumed = bench.name(), list[int](), asyncio.Event()

        async def work(start_at: int) -> AsyncIterator[int]:
            begun.append(start_at)
            if start_at:
                resumed.set()
            for number in range(start_at, 20_000):
                if number == 10_000:
                    await resumed.wait()  # the loss comes before the end
                yield number

        await bench.server(service(work, name, resumable=True))
        client = await bench.rpc_client()
        source = client.options(timeout=PATIENCE).stream(name)
        got = [await soon(anext(source)) for _ in range(5000)]
        await break_connection(client._client.transport)
        got += await soon(read_all(source))
        assert got == list(range(20_000))
        assert len(begun) == 2
        assert begun[1] >= 5000

    async def test_the_connection_of_the_worker_is_lost(self, bench: Bench, break_connection: BreakConnection) -> None:
        name, endless = bench.name(), Endless()
        server = await bench.server(service(function_of(endless), name))
        client = await bench.rpc_client()
        source = client.stream(name)
        assert await soon(anext(source)) == 0
        await break_connection(server.transport)
        with pytest.raises(StreamError, match="another one has begun it again") as caught:
            await soon(read_all(source))
        assert caught.value.received == source.received > 0

    async def test_a_resumable_one_goes_on_with_another_worker(
        self, bench: Bench, break_connection: BreakConnection
    ) -> None:
        name = bench.name()

        async def work(start_at: int) -> AsyncIterator[int]:
            for number in range(start_at, 20_000):
                yield number

        server = await bench.server(service(work, name, resumable=True))
        client = await bench.rpc_client()
        source = client.options(timeout=PATIENCE).stream(name)
        got = [await soon(anext(source)) for _ in range(5000)]
        await break_connection(server.transport)
        got += await soon(read_all(source))
        assert got == list(range(20_000))

    async def test_a_worker_that_drains_gives_it_away(self, bench: Bench) -> None:
        name, resumable = bench.name(), bench.name()

        async def work() -> AsyncIterator[int]:
            yield 1
            await asyncio.Event().wait()

        async def again(start_at: int) -> AsyncIterator[int]:
            yield start_at
            if not start_at:
                await asyncio.Event().wait()

        services = service(work, name), service(again, resumable, resumable=True)
        first = await bench.server(*services, drain_timeout=0.1)
        client = await bench.rpc_client()
        lost, goes_on = client.stream(name), client.options(timeout=PATIENCE).stream(resumable)
        assert [await soon(anext(lost)), await soon(anext(goes_on))] == [1, 0]
        await bench.server(*services)
        await soon(first.close())
        with pytest.raises(StreamError, match="was stopped") as caught:
            await soon(anext(lost))
        assert caught.value.received == 1
        assert await soon(read_all(goes_on)) == [1]
