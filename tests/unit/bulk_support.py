"""Bulks whose calls and inputs the test controls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge_core._client.bulk import BulkOptions, run_bulk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

PATIENCE = 90.0


class Calls:
    """Calls that the test ends, one by one."""

    def __init__(self) -> None:
        self.pending: dict[Any, asyncio.Future[Any]] = {}
        self.begun: list[Any] = []
        self.cancelled: list[Any] = []
        self.most = 0

    async def __call__(self, item: Any, timeout: float | None, again: bool, /) -> Any:
        assert (timeout, again) == (None, False)
        self.begun.append(item)
        future = self.pending[item] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self.pending))
        try:
            return await future
        except asyncio.CancelledError:
            self.cancelled.append(item)
            raise
        finally:
            del self.pending[item]

    def end(self, *items: Any) -> None:
        for item in items:
            self.pending[item].set_result(f"result {item}")

    def fail(self, item: Any, error: BaseException | None = None) -> None:
        self.pending[item].set_exception(error or LookupError(item))


async def instant(item: Any, timeout: float | None, again: bool, /) -> Any:
    return item


async def turns(number: int = 20) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def bulk(calls: Any, inputs: Any, concurrency: int = 3, **options: Any) -> AsyncGenerator[Any]:
    return run_bulk(calls, inputs, BulkOptions(concurrency, **options))


def numbers(drawn: list[Any], stop: int = 1_000_000) -> Iterator[int]:
    try:
        for number in range(stop):
            drawn.append(number)
            yield number
    finally:
        drawn.append("closed")


async def numbers_later(drawn: list[Any], stop: int = 1_000_000) -> AsyncIterator[int]:
    try:
        for number in range(stop):
            await asyncio.sleep(0)
            drawn.append(number)
            yield number
    finally:
        await asyncio.sleep(0)
        drawn.append("closed")


def others() -> set[asyncio.Task[Any]]:
    return asyncio.all_tasks() - {asyncio.current_task()}


async def collect(results: AsyncGenerator[Any], into: list[Any] | None = None) -> list[Any]:
    found = [] if into is None else into
    async for result in results:
        found.append(result)
    return found
