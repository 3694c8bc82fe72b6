"""Limits how many requests of a service run at a time."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._server.active_request import ActiveRequest

__all__ = ["ConcurrencyLimiter"]


class ConcurrencyLimiter:
    """Counts the running requests, and queues the others in order of arrival."""

    __slots__ = ("_queued", "_running", "_start", "_starting", "limit")

    def __init__(self, limit: int, start: Callable[[ActiveRequest], None]) -> None:
        """Let ``limit`` requests run at a time; ``start`` starts a request that was queued."""
        self.limit = limit
        self._start = start
        self._starting = False
        self._running = 0
        self._queued: deque[ActiveRequest] = deque()

    def acquire(self) -> bool:
        """Tell whether one more request may run now, and count it if so."""
        if self._running < self.limit:
            self._running += 1
            return True
        return False

    def release(self, active: ActiveRequest | None = None) -> None:
        """Called when a running request has finished: starts queued requests."""
        self._running -= 1
        self._start_queued()

    def resize(self, limit: int) -> None:
        """Let ``limit`` requests run at a time from now on; those that run continue."""
        self.limit = limit
        self._start_queued()

    def _start_queued(self) -> None:
        if self._starting:  # eager tasks: what was started has ended at once, and the loop below goes on
            return
        self._starting = True
        try:
            while (active := self._take_next()) is not None:
                self._start(active)
        finally:
            self._starting = False

    def _take_next(self) -> ActiveRequest | None:
        """Return the next request that may run now, and count it; ``None``: none may."""
        if not self._queued or self._running >= self.limit:
            return None
        self._running += 1
        return self._queued.popleft()

    def occupy(self, count: int) -> None:
        """Count ``count`` requests that run elsewhere, until :meth:`release` is called for each."""
        self._running += count

    def surplus(self, active: ActiveRequest) -> ActiveRequest | None:
        """Return what must be refused before this request may wait; ``None``: nothing, as the queue is the broker's."""
        return None

    def enqueue(self, active: ActiveRequest) -> None:
        """Start the request as soon as fewer than ``limit`` run."""
        self._queued.append(active)

    def remove(self, active: ActiveRequest) -> None:
        """Remove a queued request."""
        self._queued.remove(active)
