"""Limits how many requests of a service run at a time, and shares their places among the callers that wait here."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from rabibridge_core._server.concurrency import ConcurrencyLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core.transport import IncomingRequest

__all__ = ["FairLimiter", "keys_of"]


class FairLimiter(ConcurrencyLimiter):
    """Starts next, of the requests that wait, one of the user that has the fewest running ones.

    Of the requests of one user, it is one of the reply address with the fewest running ones: so a user gets no more by
    opening many connections, and programs that log in as one user share what it gets. While requests of one reply
    address alone wait, nothing is counted: they start in order of arrival. It sees only what the broker has delivered.
    """

    __slots__ = ("_active", "_runs", "_waiting")

    def __init__(self, limit: int, start: Callable[[ActiveRequest], None], active: Collection[ActiveRequest]) -> None:
        """Let ``limit`` requests run at a time; ``active`` are those that run or wait."""
        super().__init__(limit, start)
        self._active = active
        self._waiting: dict[str | bytes, dict[bytes, deque[ActiveRequest]]] = {}
        """By user and reply address; who had a turn last is the last one in both."""
        self._runs: Counter[object] | None = None
        """How many requests of each user and each reply address run, while requests of several wait."""

    def release(self, active: ActiveRequest | None = None) -> None:
        """Called when a running request has finished: starts queued requests."""
        runs = self._runs
        if runs is not None and active is not None:
            for each in keys_of(active.request):
                runs[each] -= 1
                if runs[each] <= 0:
                    del runs[each]
        super().release()

    def _take_next(self) -> ActiveRequest | None:
        if not self._waiting or self._running >= self.limit:
            return None
        self._running += 1
        return self._next()

    def _next(self) -> ActiveRequest:
        user = next(iter(self._waiting))
        address = next(iter(self._waiting[user]))
        if len(self._waiting) == 1 and len(self._waiting[user]) == 1:
            self._runs = None
        else:
            if self._runs is None:
                running = (active.request for active in self._active if active.task is not None and not active.over)
                self._runs = Counter(key for request in running for key in keys_of(request))
            runs = self._runs
            user = min(self._waiting, key=lambda each: runs[each])  # of equals the one that has waited longest
            address = min(self._waiting[user], key=lambda each: runs[user, each])
            runs.update((user, (user, address)))
        addresses = self._waiting.pop(user)
        queue = addresses.pop(address)
        active = queue.popleft()
        if queue:
            addresses[address] = queue
        if addresses:
            self._waiting[user] = addresses
        return active

    def enqueue(self, active: ActiveRequest) -> None:
        """Start the request when its caller is due."""
        user, (_, address) = keys_of(active.request)
        self._waiting.setdefault(user, {}).setdefault(address, deque()).append(active)

    def remove(self, active: ActiveRequest) -> None:
        """Remove a queued request."""
        user, (_, address) = keys_of(active.request)
        addresses = self._waiting[user]
        addresses[address].remove(active)
        if not addresses[address]:
            del addresses[address]
        if not addresses:
            del self._waiting[user]


def keys_of(request: IncomingRequest) -> tuple[str | bytes, tuple[str | bytes, bytes]]:
    """Return the user, or where the broker vouches for none the reply address; and it together with the address."""
    user = request.user or request.caller
    return user, (user, request.caller)
