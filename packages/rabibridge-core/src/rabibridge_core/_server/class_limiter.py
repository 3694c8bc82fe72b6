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

    No running request gives its slot to a more important one. So a request starts only if some slots stay free for the
    classes above its own, which :func:`slots_of` counts, or if its class is due. Within a class, requests start in
    order of arrival.
    """

    __slots__ = ("_passed", "absent", "waiting")

    def __init__(self, limit: int, classes: int, start: Callable[[ActiveRequest], None]) -> None:
        """Let ``limit`` requests of so many classes run at a time; ``start`` starts a request that waited."""
        super().__init__(limit, start)
        self.waiting: Sequence[deque[ActiveRequest]] = [deque() for _ in range(classes)]
        self.absent: set[int] = set()
        """Classes whose requests are not fetched now: they are passed over as if some waited."""
        self._passed = [0] * classes

    def acquire_for(self, index: int) -> bool:
        """Tell whether one more request of a class may run now, and count it if so."""
        if not self._has_slot(index):
            return False
        self._count(index)
        return True

    def is_next(self, index: int) -> bool:
        """Tell whether a request of a class would start now, if one waited."""
        return self._has_slot(index) and (self._is_due(index) or not any(self.waiting[:index]))

    def enqueue(self, active: ActiveRequest) -> None:
        """Start the request when it is its turn."""
        self.waiting[_class_of(active)].append(active)

    def remove(self, active: ActiveRequest) -> None:
        """Remove a request that waits."""
        self.waiting[_class_of(active)].remove(active)

    def _is_due(self, index: int) -> bool:
        return self._passed[index] >= SHARE - 1

    def _has_slot(self, index: int) -> bool:
        return self._running < (self.limit if self._is_due(index) else slots_of(index, self.limit))

    def _count(self, index: int) -> None:
        self._running += 1
        self._passed[index] = 0
        for below in range(index + 1, len(self.waiting)):
            if self.waiting[below] or below in self.absent:
                self._passed[below] += 1

    def _take_next(self) -> ActiveRequest | None:
        if (index := self._next()) is None:
            return None
        self._count(index)
        return self.waiting[index].popleft()

    def _next(self) -> int | None:
        """Return the class whose turn it is: the lowest one that is due, or the most important one."""
        candidates = [index for index, waiting in enumerate(self.waiting) if waiting and self._has_slot(index)]
        due = (index for index in reversed(candidates) if self._is_due(index))
        return next(due, candidates[0] if candidates else None)


def _class_of(active: ActiveRequest) -> int:
    assert isinstance(active, ClassedRequest)
    return active.class_index
