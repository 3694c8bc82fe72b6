"""Room for so many calls at a time: more wait for their turn."""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sized

__all__ = ["AdmissionLimiter"]


class AdmissionLimiter:
    """Places for calls; whoever comes while none is free waits, first come, first served.

    A call that finds fewer than :attr:`limit` others needs no place. One that has to wait, for room or for anything
    else, enters, and leaves when it is in the table of pending calls or has given up.
    """

    __slots__ = ("_calls", "_entered", "_size", "limit", "waiting")

    def __init__(self, size: int, calls: Sized) -> None:
        """Have room for ``size`` calls, of which ``calls`` are the ones under way."""
        self._calls = calls
        self._size = size
        self._entered = 0
        self.limit = size
        """So many calls under way leave no room for one that does not wait; 0 while others wait: they come first."""
        self.waiting: OrderedDict[asyncio.Future[None], None] = OrderedDict()
        """Those that wait for a place, in their order."""

    @property
    def full(self) -> bool:
        """Whether no place is free."""
        return len(self._calls) + self._entered >= self._size

    async def enter(self) -> None:
        """Take a place, waiting for it if need be. Cancelling it loses no place."""
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
            if turn.done() and not turn.cancelled():  # the place was given in the same turn of the loop
                self.leave()
            else:
                self.waiting.pop(turn, None)
                self._recount()
            raise

    def leave(self) -> None:
        """Give the place back. The next one gets it in the next turn of the loop, once the table shows who stayed."""
        self._entered -= 1
        self._recount()
        if self.waiting:
            asyncio.get_running_loop().call_soon(self.admit)

    def admit(self) -> None:
        """Let in as many of those that wait as there are free places."""
        while self.waiting and not self.full:
            turn, _ = self.waiting.popitem(last=False)
            if not turn.done():
                self._entered += 1
                turn.set_result(None)
        self._recount()

    def open(self) -> None:
        """Let in all who wait, and whoever comes."""
        self._size = sys.maxsize
        self.admit()

    def _recount(self) -> None:
        self.limit = 0 if self.waiting else self._size - self._entered
