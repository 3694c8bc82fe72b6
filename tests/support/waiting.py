"""Waiting for what must happen, with limits so generous that they say nothing about how fast the machine is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from rabibridge_testing.conformance.waiting import longer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["PATIENCE", "longer", "soon", "until", "until_true"]

PATIENCE = 30.0
"""How long a test waits for what must happen, in seconds. What must happen happens much sooner."""

ResultT = TypeVar("ResultT")


async def soon(awaitable: Awaitable[ResultT]) -> ResultT:
    """Return the result of ``awaitable``, or fail when it takes too long."""
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something of which there is no notice to await."""

    async def look() -> bool:
        return condition()

    await until_true(look)


async def until_true(condition: Callable[[], Awaitable[bool]]) -> None:
    """Ask until the answer is yes."""
    async with asyncio.timeout(2 * PATIENCE):
        while not await condition():  # noqa: ASYNC110 - what is waited for happens elsewhere and gives no notice
            await asyncio.sleep(0.02)
