"""The queue of a service with ``fair=True``, in its workers: who has the most calls in it is refused first.

The queue on the broker is first in, first out, and refuses whoever comes when it is full. So one caller that sends more
than can be served fills it, and all others are refused with it. Here the worker fetches whatever comes, so that the
queue on the broker stays empty; it keeps as many requests waiting as the service allows, and refuses those above that
itself. The one that is refused is one of the caller that has the most waiting: McKenney's stochastic fairness queueing
(1990) and Suter's longest queue drop (1998) do the same with packets. A caller that sends less than its share never has
the most for long, and is not refused.

Of that caller, it is the newest call, which so hears of it at once. But a caller with many calls and a small share
would have them wait for many times as long as they would in one queue, until they are too late. So the oldest one is
refused if it has waited for longer than that: then what starts has waited no longer than it would have there.
"""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import TYPE_CHECKING, Generic, TypeVar

from rabibridge_core._clock import monotonic
from rabibridge_core._server.fair_limiter import FairLimiter, keys_of
from rabibridge_core.errors import QueueFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Hashable

    from rabibridge_core._server.active_request import ActiveRequest

__all__ = ["FairQueue", "Lengths"]

K = TypeVar("K", bound="Hashable")
_STARTS_KEPT = 32
_PATIENCE = 1.25
"""By how much the oldest may have waited for longer than all places take to start, before it is refused."""


class Lengths(Generic[K]):
    """How many requests of each caller wait. Every step takes the same time, however many callers there are."""

    __slots__ = ("_at_length", "of")

    def __init__(self) -> None:
        """Nothing waits."""
        self.of: dict[K, int] = {}
        """The number by caller; those of which none waits are not in it."""
        self._at_length: list[dict[K, None]] = []

    def add(self, caller: K) -> None:
        """Called when one more of a caller waits."""
        length = self.of[caller] = self.of.get(caller, 0) + 1
        if length > len(self._at_length):
            self._at_length.append({})
        self._at_length[length - 1][caller] = None
        if length > 1:
            del self._at_length[length - 2][caller]

    def drop(self, caller: K) -> None:
        """Called when one less of a caller waits."""
        length = self.of[caller] - 1
        del self._at_length[length][caller]
        if length:
            self.of[caller] = length
            self._at_length[length - 1][caller] = None
        else:
            del self.of[caller]
        while self._at_length and not self._at_length[-1]:
            self._at_length.pop()

    @property
    def most(self) -> int:
        """The highest number."""
        return len(self._at_length)

    @property
    def longest(self) -> K:
        """A caller that has that many; there must be one."""
        return next(iter(self._at_length[-1]))

    def chosen(self, caller: K) -> K:
        """Return who has the most if one more of this caller waited: in case of doubt, this one."""
        return caller if self.of.get(caller, 0) + 1 >= self.most else self.longest


class FairQueue(FairLimiter):
    """Keeps at most as many requests waiting as this worker has places for, and shares these among the callers."""

    __slots__ = ("_addresses", "_clock", "_count", "_starts", "_total", "_users", "places", "refused")

    def __init__(
        self,
        limit: int,
        places: int,
        start: Callable[[ActiveRequest], None],
        active: Collection[ActiveRequest],
        *,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Let ``limit`` requests run at a time, and ``places`` wait; ``active`` are those that run or wait.

        ``clock`` is the one by which requests say when they were received.
        """
        super().__init__(limit, start, active)
        self._clock = clock
        self.places = self._total = places
        """How many may wait in this worker."""
        self.refused = 0
        """How many requests were refused."""
        self._count = 0
        self._users = Lengths[str | bytes]()
        self._addresses: dict[str | bytes, Lengths[bytes]] = {}
        self._starts = deque[float](maxlen=_STARTS_KEPT)

    def share(self, workers: int) -> None:
        """Called with the number of workers of the service, which share the places; 0: it is not known now."""
        if workers:
            self.places = max(1, ceil(self._total / workers))

    def surplus(self, active: ActiveRequest) -> ActiveRequest | None:
        """Return what must be refused before this request may wait; it may be the request itself. ``None``: nothing."""
        if self._count < self.places:
            return None
        self.refused += 1
        user, (_, address) = keys_of(active.request)
        chosen_user = self._users.chosen(user)
        addresses = self._addresses.get(chosen_user)
        if addresses is None:
            return active
        chosen = addresses.chosen(address) if chosen_user == user else addresses.longest
        if (waiting := self._waiting[chosen_user].get(chosen)) is None:
            return active
        now = self._clock()
        surplus = waiting[0]
        if not 0.0 < _PATIENCE * self.places * self._interval(now) < now - surplus.received_at:
            if (chosen_user, chosen) == (user, address):
                return active
            surplus = waiting[-1]
        self.remove(surplus)
        return surplus

    def refusal(self, service: str) -> QueueFullError:
        """Return the error of a request that is refused."""
        return QueueFullError(
            f"{self._count} calls of {service!r} wait in this worker, and the caller of this one has the most of them",
            func_name=service,
            retry_after=self._count * self._interval(self._clock()),
        )

    def _interval(self, now: float) -> float:
        """Return the mean time from one start to the next, by the last ones, in seconds; 0: there were too few."""
        starts = self._starts
        return (now - starts[0]) / len(starts) if len(starts) > 1 else 0.0

    def enqueue(self, active: ActiveRequest) -> None:
        """Start the request when its caller is due."""
        super().enqueue(active)
        user, (_, address) = keys_of(active.request)
        self._count += 1
        self._users.add(user)
        if (addresses := self._addresses.get(user)) is None:
            addresses = self._addresses[user] = Lengths()
        addresses.add(address)

    def remove(self, active: ActiveRequest) -> None:
        """Remove a queued request."""
        super().remove(active)
        self._left(active)

    def _next(self) -> ActiveRequest:
        active = super()._next()
        self._left(active)
        self._starts.append(self._clock())
        return active

    def _left(self, active: ActiveRequest) -> None:
        user, (_, address) = keys_of(active.request)
        self._count -= 1
        self._users.drop(user)
        addresses = self._addresses[user]
        addresses.drop(address)
        if not addresses.of:
            del self._addresses[user]
