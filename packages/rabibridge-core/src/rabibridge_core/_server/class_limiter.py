"""Limits how many requests of a service with classes of criticality run at a time, and decides which is the next."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rabibridge_core._server.active_request import ActiveRequest
from rabibridge_core._server.concurrency import ConcurrencyLimiter
from rabibridge_core._services.classes import slots_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["SHARE", "ClassLimiter", "ClassedRequest"]

SHARE = 20
"""Each class gets at least one of so many starts, however many requests of more important ones wait."""


class ClassedRequest(ActiveRequest):
    """A request of a service with classes.

    Attributes:
        class_index: the place of its class among those of the service; 0 is the most important one.
    """

    __slots__ = ("class_index",)

    class_index: int


class ClassLimiter(ConcurrencyLimiter):
    """Starts the most important request that waits, unless a class below has been passed over 19 times.

    A class leaves some slots free for those above it, which :func:`slots_of` counts, since no running request gives
    its slot to a more important one. Within a class, requests start in order of arrival.
    """

    __slots__ = ("_passed", "_running_of", "absent", "waiting")

    def __init__(self, limit: int, classes: int, start: Callable[[ActiveRequest], None]) -> None:
        """Let ``limit`` requests of so many classes run at a time; ``start`` starts a request that waited."""
        super().__init__(limit, start)
        self.waiting: Sequence[deque[ActiveRequest]] = [deque() for _ in range(classes)]
        self.absent: set[int] = set()
        """Classes whose requests are not fetched now: they are passed over as if some waited."""
        self._running_of = [0] * classes
        self._passed = [0] * classes

    def acquire_for(self, index: int) -> bool:
        """Tell whether one more request of a class may run now, and count it if so."""
        if not self.has_slot(index):
            return False
        self._count(index)
        return True

    def finished(self, index: int) -> None:
        """Called when a running request of a class has finished: starts requests that wait."""
        self._running_of[index] -= 1
        self.release()

    def has_slot(self, index: int) -> bool:
        """Tell whether there is a slot that a request of a class may take."""
        if self._running >= self.limit:
            return False
        below = 0
        for lower in range(len(self._running_of) - 1, 0, -1):
            below += self._running_of[lower]
            if lower <= index and below >= slots_of(lower, self.limit):
                return False
        return True

    def is_next(self, index: int) -> bool:
        """Tell whether a request of a class would start now, if one waited."""
        passed = self._passed[index] >= SHARE - 1
        return passed or (self.has_slot(index) and not any(self.waiting[:index]))

    def enqueue(self, active: ActiveRequest) -> None:
        """Start the request when it is its turn."""
        self.waiting[_class_of(active)].append(active)

    def remove(self, active: ActiveRequest) -> None:
        """Remove a request that waits."""
        self.waiting[_class_of(active)].remove(active)

    def _start_queued(self) -> None:
        while (index := self._next()) is not None:
            self._count(index)
            self._start(self.waiting[index].popleft())

    def _count(self, index: int) -> None:
        self._running += 1
        self._running_of[index] += 1
        self._passed[index] = 0

    def _next(self) -> int | None:
        """Return the class whose turn it is, and count those that it is preferred to; ``None``: nothing may start."""
        chosen, below = None, list[int]()
        for index, waiting in enumerate(self.waiting):
            if not (waiting or index in self.absent) or not self.has_slot(index):
                continue
            if chosen is not None:
                below.append(index)
            if waiting and (chosen is None or self._passed[index] >= SHARE - 1):
                chosen = index
        if chosen is not None:
            for index in below:
                self._passed[index] += index > chosen
        return chosen


def _class_of(active: ActiveRequest) -> int:
    assert isinstance(active, ClassedRequest)
    return active.class_index
