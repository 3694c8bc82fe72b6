"""Waiting in the conformance tests, with limits that do not depend on how fast the machine is."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

__all__ = ["PATIENCE", "longer", "soon", "until"]

PATIENCE = 90.0
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


def longer(seconds: float) -> Iterator[float]:
    """Yield longer and longer timeouts, beginning with ``seconds``; raise TimeoutError after :data:`PATIENCE`.

    For a timeout that must pass, but not before something else has happened: the test leaves the loop when the timeout
    was long enough for that on this machine.
    """
    while seconds <= PATIENCE:
        yield seconds
        seconds *= 3
    raise TimeoutError("what must happen within the timeout has not happened")
