"""Limits how many calls are pending at a time."""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sized

    from rabibridge_core.transport import Caller

__all__ = ["AdmissionLimiter"]


class AdmissionLimiter:
    """Limits the number of pending calls. Callers over the limit wait in FIFO order.

    A call under the limit bypasses the limiter. A call that must wait, for a slot or for a connection, acquires a slot
    and releases it once it is registered as pending or has failed.
    """

    __slots__ = ("_calls", "_entered", "_size", "limit", "waiting")

    def __init__(self, size: int, calls: Sized) -> None:
        """Allow ``size`` calls; ``calls`` are the pending ones."""
        self._calls = calls
        self._size = size
        self._entered = 0
        self.limit = size
        """Number of pending calls at which new calls must wait; 0 while calls are already waiting, so that they go
        first."""
        self.waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        """The calls that wait for a slot, in order."""

    @property
    def full(self) -> bool:
        """Whether no slot is free."""
        return len(self._calls) + self._entered >= self._size

    def obstacles(self, caller: Caller) -> list[str]:
        """Return what prevents calls from being sent by ``caller`` now."""
        found = [caller.why_paused or "the connection accepts no calls now"] if caller.paused else []
        if self.full:
            found.append(f"max_pending={self._size} calls are pending")
        return found

    async def enter(self) -> None:
        """Acquire a slot, waiting for one if necessary. Cancelling it loses no slot."""
        if not (self.waiting or self.full):
            self._entered += 1
            self._recount()
            return
        turn = asyncio.get_running_loop().create_future()
        self.waiting[turn] = None
        self._recount()
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # it got the slot in the same turn of the loop
                self.leave()
            else:
                self.waiting.pop(turn, None)
                self._recount()
            raise

    def leave(self) -> None:
        """Release the slot. The next call gets it in the next turn of the loop, when the table is up to date."""
        self._entered -= 1
        self._recount()
        if self.waiting:
            asyncio.get_running_loop().call_soon(self.admit)

    def admit(self) -> None:
        """Give the free slots to waiting calls."""
        while self.waiting and not self.full:
            turn, _ = self.waiting.popitem(last=False)
            if not turn.done():
                self._entered += 1
                turn.set_result(None)
        self._recount()

    def open(self) -> None:
        """Admit all waiting calls, and all later ones without a limit."""
        self._size = sys.maxsize
        self.admit()

    def _recount(self) -> None:
        self.limit = 0 if self.waiting else self._size - self._entered
