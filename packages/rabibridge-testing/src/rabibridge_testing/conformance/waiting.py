"""Waiting for what a test expects, with a generous limit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["PATIENCE", "soon", "until"]

PATIENCE = 30.0
"""Timeout in seconds for everything that a test waits for. A correct transport needs far less."""

ResultT = TypeVar("ResultT")


async def soon(awaitable: Awaitable[ResultT]) -> ResultT:
    """Return the result of ``awaitable``; raise TimeoutError after :data:`PATIENCE` seconds."""
    async with asyncio.timeout(PATIENCE):
        return await awaitable


async def until(condition: Callable[[], object]) -> None:
    """Wait until ``condition()`` is true; raise TimeoutError after :data:`PATIENCE` seconds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - nothing signals the change that is waited for
            await asyncio.sleep(0.01)
