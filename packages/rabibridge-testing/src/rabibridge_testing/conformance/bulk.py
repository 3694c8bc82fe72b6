"""Bulks: ``client.map`` and ``client.starmap``."""

# ruff: noqa: D102 - the name of a test says what it shows

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.errors import QueueFullError, RemoteExecutionError
from rabibridge_testing.conformance.harness import PATIENCE, ConformanceBase, service, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from rabibridge_testing.conformance.harness import Bench

__all__ = ["BulkConformance"]


class BulkConformance(ConformanceBase):
    """Results, errors, cancellation and full queues of bulks."""

    async def test_results_in_order(self, bench: Bench) -> None:
        async def double(number: int) -> int:
            await asyncio.sleep(0.001 * (number % 3))
            return 2 * number

        async def numbers() -> AsyncIterator[int]:
            for number in range(50):
                await asyncio.sleep(0)
                yield number

        name = bench.name("double")
        await bench.server(service(double, name))
        client = (await bench.rpc_client()).options(timeout=PATIENCE)
        async with asyncio.timeout(PATIENCE):
            assert [each async for each in client.map(name, range(200))] == [2 * number for number in range(200)]
            assert [each async for each in client.map(name, numbers(), concurrency=4)] == [*range(0, 100, 2)]
            unordered = [each async for each in client.map(name, range(50), ordered=False)]
            assert sorted(unordered) == [*range(0, 100, 2)]

    async def test_several_arguments(self, bench: Bench) -> None:
        def add(left: int, right: int = 10) -> int:
            return left + right

        name = bench.name("add")
        await bench.server(service(add, name))
        client = (await bench.rpc_client()).options(timeout=PATIENCE)
        assert [each async for each in client.starmap(name, [(1, 2), [3, 4], (5,)])] == [3, 7, 15]

    async def test_the_first_error_cancels_the_rest_on_the_workers(self, bench: Bench) -> None:
        begun, cancelled, drawn = list[int](), list[int](), list[int]()

        async def work(number: int) -> int:
            begun.append(number)
            if number == 3:
                await until(lambda: len(begun) >= 6)
                raise LookupError("three")
            try:
                await asyncio.sleep(10 * PATIENCE)
            except asyncio.CancelledError:
                cancelled.append(number)
                raise
            return number

        def numbers() -> Iterator[int]:
            for number in range(1000):
                drawn.append(number)
                yield number

        name = bench.name("work")
        await bench.server(service(work, name))
        client = await bench.rpc_client()
        with pytest.raises(RemoteExecutionError, match="three"):
            await soon(anext(client.map(name, numbers(), concurrency=6)))
        await until(lambda: len(cancelled) == len(begun) - 1)
        assert len(drawn) == 6
        assert client.pending == 0

    async def test_leaving_the_loop_cancels_on_the_workers(self, bench: Bench) -> None:
        cancelled: list[int] = []

        async def work(number: int) -> int:
            try:
                await asyncio.sleep(0 if number == 0 else 10 * PATIENCE)
            except asyncio.CancelledError:
                cancelled.append(number)
                raise
            return number

        name = bench.name("work")
        await bench.server(service(work, name))
        client = await bench.rpc_client()
        async with asyncio.timeout(PATIENCE), aclosing(client.map(name, range(100), concurrency=5)) as results:
            async for number in results:
                assert number == 0
                break
        assert client.pending == 0
        await until(lambda: not set(cancelled) ^ {1, 2, 3, 4} or not set(cancelled) ^ {1, 2, 3, 4, 5})

    async def test_errors_in_the_place_of_results(self, bench: Bench) -> None:
        async def odd(number: int) -> int:
            if number % 2:
                return number
            raise LookupError(number)

        name = bench.name("odd")
        await bench.server(service(odd, name))
        client = (await bench.rpc_client()).options(timeout=PATIENCE)
        found = [each async for each in client.map(name, range(20), concurrency=4, return_exceptions=True)]
        assert [each for each in found if isinstance(each, int)] == [*range(1, 20, 2)]
        assert [each.error_message for each in found if not isinstance(each, int)] == [*map(str, range(0, 20, 2))]

    async def test_a_small_queue_slows_a_bulk_down(self, bench: Bench) -> None:
        async def work(number: int) -> int:
            await asyncio.sleep(0.002)
            return number

        name = bench.name("work")
        await bench.server(service(work, name, queue_size=3, fetch_size=2))
        client = (await bench.rpc_client()).options(timeout=2 * PATIENCE)
        async with asyncio.timeout(2 * PATIENCE):
            assert [each async for each in client.map(name, range(200))] == [*range(200)]
        with pytest.raises(QueueFullError):
            async for _ in client.options(retry=False).map(name, range(200)):
                pass
