"""Waiting for what must happen, with limits so generous that they say nothing about how fast the machine is."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from rabibridge_testing.conformance.waiting import longer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["PATIENCE", "counted_time", "longer", "soon", "until", "until_true"]

PATIENCE = 90.0
"""How long a test waits for what must happen, in seconds. What must happen happens much sooner."""

ResultT = TypeVar("ResultT")


async def soon(awaitable: Awaitable[ResultT]) -> ResultT:
    """Return the result of ``awaitable``, or fail when it takes too long."""
    async with asyncio.timeout(PATIENCE):
        return await awaitable


_TICK = 0.05


@asynccontextmanager
async def counted_time() -> AsyncIterator[Callable[[], float]]:
    """Give a function that returns the seconds passed; time in which the machine stands still does not count."""
    loop, counted = asyncio.get_running_loop(), 0.0

    async def count() -> None:
        nonlocal counted
        while True:
            began = loop.time()
            await asyncio.sleep(_TICK)
            counted += min(loop.time() - began, 2 * _TICK)

    counting = asyncio.create_task(count())
    try:
        yield lambda: counted
    finally:
        counting.cancel()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something of which there is no notice to await."""

    async def look() -> bool:
        return condition()

    await until_true(look)


async def until_true(condition: Callable[[], Awaitable[bool]], *, pause: float = 0.02) -> None:
    """Ask until the answer is yes, with so many seconds between two questions."""
    async with asyncio.timeout(2 * PATIENCE):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens elsewhere and gives no notice
            await asyncio.sleep(pause)
