"""How many calls of one bulk are in flight, and when those go again that a full queue refused."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._client.retry import RetryRefused
    from rabibridge_core.errors import QueueFullError

__all__ = ["SendWindow"]

_GROWTH = 0.1
"""How much the window grows with each result: after ten of them, one call more is tried than the queue took before."""


class SendWindow:
    """A window that adapts to what the queue of the service takes, so that a bulk is not refused again and again.

    A refusal shrinks it to the calls that are still in flight; results let it grow again, slowly. Refused calls wait
    here, in order, and before any new one. Each call that ends lets one of them go: it has left its place in the queue,
    so that an overload does not grow. Others may fill the queue meanwhile, and then none of ours may end for long: so
    one goes after each wait of the retry policy, too.
    """

    def __init__(self, size: int, retry: RetryRefused, changed: Callable[[], None]) -> None:
        """Start with a window of ``size`` calls.

        Args:
            size: the largest window.
            retry: how long refused calls wait.
            changed: called when a new call may be sent that might not before.
        """
        self._largest = size
        self._size = float(size)
        self._retry = retry
        self._changed = changed
        self._in_flight = 0
        self._refusals = 0
        self._retry_after: float | None = None
        self._held: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        """Whether a new call may be sent."""
        return not self._held and self._in_flight < max(1, int(self._size))

    def sent(self) -> None:
        """Called before a new call is sent."""
        self._in_flight += 1

    def ended(self, *, result: bool) -> None:
        """Called when a call has ended, but not by a refusal; ``result``: the service has worked on it."""
        self._in_flight -= 1
        if result:
            self._refusals = 0
            if not self._held:
                self._size = min(self._largest, self._size + _GROWTH)
        if self._held:
            self._let_one_go()
        else:
            self._changed()

    async def refused(self, error: QueueFullError) -> None:
        """Called when a call was refused; returns when it may be sent again, and counts it as sent then."""
        self._in_flight -= 1
        self._refusals += 1
        self._retry_after = error.retry_after
        self._size = float(max(1, self._in_flight))
        turn = asyncio.get_running_loop().create_future()
        self._held.append(turn)
        self._arm()
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # it was let go in the same turn of the loop
                self.ended(result=False)
            else:
                if turn in self._held:  # a cancelled one is passed over when its turn comes
                    self._held.remove(turn)
                self._changed()
            raise
        finally:
            if not self._held:
                self.close()

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self) -> None:
        if self._timer is None:
            longest = self._retry.longest_wait(max(1, self._refusals), self._retry_after)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(random.uniform(longest / 2, longest), self._waited)  # noqa: S311 - jitter, which nobody gains by guessing

    def _waited(self) -> None:
        self._timer = None
        self._let_one_go()
        if self._held:
            self._arm()

    def _let_one_go(self) -> None:
        while self._held:
            turn = self._held.popleft()
            if not turn.done():
                self._in_flight += 1
                turn.set_result(None)
                return
