"""Limits how many requests of a service run at a time, and shares their places among the callers that wait here."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from rabibridge_core._server.concurrency import ConcurrencyLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.transport import IncomingRequest

__all__ = ["FairLimiter", "limiter_of"]


class FairLimiter(ConcurrencyLimiter):
    """Starts next, of the requests that wait, one of the caller that has the fewest running ones.

    A caller is a user of the broker, if the broker vouches for it, else a reply address. While requests of one caller
    alone wait, nothing is counted: they start in order of arrival. It sees only what the broker has delivered.
    """

    __slots__ = ("_active", "_runs", "_waiting")

    def __init__(self, limit: int, start: Callable[[ActiveRequest], None], active: Collection[ActiveRequest]) -> None:
        """Let ``limit`` requests run at a time; ``active`` are those that run or wait."""
        super().__init__(limit, start)
        self._active = active
        self._waiting: dict[str | bytes, deque[ActiveRequest]] = {}
        self._runs: Counter[str | bytes] | None = None
        """How many requests of each caller run, while requests of several callers wait."""

    def release(self, active: ActiveRequest | None = None) -> None:
        """Called when a running request has finished: starts queued requests."""
        if self._runs is not None and active is not None:
            self._runs[_caller(active.request)] -= 1
        super().release()

    def _start_queued(self) -> None:
        while self._waiting and self._running < self.limit:
            self._running += 1
            self._start(self._next())

    def _next(self) -> ActiveRequest:
        waiting = self._waiting
        if len(waiting) == 1:
            self._runs = None
            caller = next(iter(waiting))
        else:
            if self._runs is None:
                self._runs = Counter(
                    _caller(active.request) for active in self._active if active.task is not None and not active.over
                )
            runs = self._runs
            caller = min(waiting, key=lambda each: runs[each])  # of equals the one that has waited longest
            runs[caller] += 1
        queue = waiting.pop(caller)
        active = queue.popleft()
        if queue:
            waiting[caller] = queue
        return active

    def enqueue(self, active: ActiveRequest) -> None:
        """Start the request when its caller is due."""
        self._waiting.setdefault(_caller(active.request), deque()).append(active)

    def remove(self, active: ActiveRequest) -> None:
        """Remove a queued request."""
        caller = _caller(active.request)
        queue = self._waiting[caller]
        queue.remove(active)
        if not queue:
            del self._waiting[caller]


def _caller(request: IncomingRequest) -> str | bytes:
    return request.user or request.caller


def limiter_of(
    schema: ServiceSchema, start: Callable[[ActiveRequest], None], active: Collection[ActiveRequest]
) -> ConcurrencyLimiter | None:
    """Return what limits the requests that run; ``None``: the broker delivers no more than may run at a time."""
    if schema.fair:
        return FairLimiter(schema.concurrency, start, active)
    if schema.delivery == "at-most-once" or schema.fetch_ahead > 0:
        return ConcurrencyLimiter(schema.concurrency, start)
    return None
