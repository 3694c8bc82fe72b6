"""Channels of aiormq for operations that depend on the answers to others: many at a time, each used by one service.

aiormq waits for the answer to each operation on a channel before it sends the next one, so declarations run side by
side only on different channels. A declaration that the broker leaves unanswered (its queue is on a node that is down)
does not count against the limit for long, so that it never holds up the others.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from rabibridge._connection.channel_closing import close_channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiormq.abc import AbstractChannel

__all__ = ["ChannelPool"]

_LIMIT = 4
"""How many channels are used at a time: few services need one."""
_SLOW_AFTER = 1.0
"""Time in seconds after which an unfinished use of a channel no longer counts against the limit."""


class _Opener(Protocol):
    """What a pool uses of the connection."""

    async def open_channel(self) -> AbstractChannel:
        """Open a channel."""
        ...


class ChannelPool:
    """Opens channels on demand, and closes them as soon as nobody uses any."""

    def __init__(self, connection: _Opener) -> None:
        """Open channels on ``connection``."""
        self._connection = connection
        self._free: list[AbstractChannel] = []
        self._users = 0
        self._places = asyncio.Semaphore(_LIMIT)

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        """Provide a channel that nobody else uses meanwhile.

        The block must end with an operation that the broker answers, so that the errors of those before it are raised
        in it.
        """
        self._users += 1
        try:
            async with self._place():
                channel = self._free.pop() if self._free else await self._connection.open_channel()
                yield channel  # raises: the broker or aiormq has closed the channel, or the connection is lost
                self._free.append(channel)
        finally:
            self._users -= 1
            if not self._users:
                await self._close_free()

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        await self._places.acquire()
        release = _Once(self._places.release)
        slow = asyncio.get_running_loop().call_later(_SLOW_AFTER, release)
        try:
            yield
        finally:
            slow.cancel()
            release()

    async def _close_free(self) -> None:
        free, self._free = self._free, []
        await asyncio.gather(*map(close_channel, free))


class _Once:
    def __init__(self, act: Callable[[], None]) -> None:
        self._act: Callable[[], None] | None = act

    def __call__(self) -> None:
        act, self._act = self._act, None
        if act is not None:
            act()
