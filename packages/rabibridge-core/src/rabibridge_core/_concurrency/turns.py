"""Lets one task after the other do something, in the order in which they came.

It does what :class:`asyncio.Lock` does, but costs a task that finds nobody else next to nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque

__all__ = ["Turns"]


class Turns:
    """Whose turn it is. A task does ``if turns.taken: await turns.wait()``, sets :attr:`taken`, and releases it later.

    Attributes:
        taken: whether somebody has the turn, or waits for it.
    """

    __slots__ = ("_waiters", "taken")

    def __init__(self) -> None:
        """Nobody has the turn."""
        self.taken = False
        self._waiters: deque[asyncio.Future[None]] | None = None

    async def wait(self) -> None:
        """Wait for the turn; the task has it then."""
        if self._waiters is None:
            self._waiters = deque()
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():  # it has got the turn, and does not want it
                self.release()
            raise

    def release(self) -> None:
        """Give the turn to the task that waits longest, if one does."""
        waiters = self._waiters
        while waiters:
            waiter = waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)  # it stays taken
                return
        self.taken = False
