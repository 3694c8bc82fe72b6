"""Many deadlines with few timers.

A timer per call costs more than sending the call. Deadlines that fall close together share one timer instead, so that
arming and disarming is one set operation.
"""

from __future__ import annotations

import logging
import math
from contextvars import Context
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable

__all__ = ["DeadlineWheel", "time_remaining"]

_log = logging.getLogger(__name__)
_warned: set[str] = set()

_ON_THE_WAY = 0.1
"""How long after its deadline a request may arrive although the clocks agree, in seconds: the broker counts from when
the request reached the queue, and takes time to deliver it."""

KeyT = TypeVar("KeyT", bound="Hashable")


class DeadlineWheel(Generic[KeyT]):
    """Calls ``expired(key)`` once the time given to a key is over.

    It is never early. It is late by at most 1 ms for times under half a second, 1/64 s under 8 s, 1/8 s under a minute,
    1 s under ten minutes, 8 s above, besides what the event loop itself is late.
    """

    __slots__ = ("_expired", "_loop", "_slots", "_time", "_timers")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[KeyT], None]) -> None:
        """Use the clock of ``loop`` and tell ``expired``."""
        self._loop = loop
        self._time = loop.time
        self._expired = expired
        self._slots: dict[float, set[KeyT]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}

    def add(self, key: KeyT, seconds: float) -> float:
        """Arm ``key`` and return the slot that :meth:`discard` wants."""
        per_second = 64.0 if 0.5 <= seconds < 8 else _per_second(seconds)
        slot = math.ceil((self._time() + seconds) * per_second) / per_second
        keys = self._slots.get(slot)
        if keys is None:
            keys = self._slots[slot] = set()
            # In a context of its own: that of the first call of a slot would be kept until the slot fires.
            self._timers[slot] = self._loop.call_at(slot, self._fire, slot, context=Context())
        keys.add(key)
        return slot

    def discard(self, key: KeyT, slot: float) -> None:
        """Disarm ``key``; without effect if it has expired."""
        keys = self._slots.get(slot)
        if keys is not None:
            keys.discard(key)

    def clear(self) -> None:
        """Disarm all keys, and keep nothing: a timer would keep the whole wheel until it fires."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._slots.clear()

    def __len__(self) -> int:
        """Return how many keys are armed."""
        return sum(map(len, self._slots.values()))

    def _fire(self, slot: float) -> None:
        del self._timers[slot]
        for key in self._slots.pop(slot):
            self._expired(key)


def _per_second(seconds: float) -> float:
    """Return how many slots there are in a second: few for times far ahead, since each slot stays until it fires."""
    if seconds < 0.5:
        return 1024.0
    return 8.0 if seconds < 60 else 1.0 if seconds < 600 else 0.125


def time_remaining(time_left: float | None, deadline: float | None, now: float) -> float | None:
    """Return how long a request may still run, in seconds, from what its caller sent along.

    The smaller one holds; 0 or less: it is too late. Where the deadline has passed by 0.1 s and more, although brokers
    drop what is too late, or is further away than the time left, the two clocks disagree: that is logged once, and the
    time left holds.

    Args:
        time_left: seconds that were left when it was sent; ``None``: no limit.
        deadline: the end by the caller's clock, in seconds since 1970; ``None``: not told.
        now: this machine's clock, in seconds since 1970.
    """
    if deadline is None:
        return time_left
    by_clock = deadline - now
    if time_left is None:
        return by_clock
    if by_clock <= -_ON_THE_WAY and time_left > 0:
        if "skew" not in _warned:
            _warned.add("skew")
            _log.warning(
                "a request arrived %.3f s after its deadline by this machine's clock, though the broker had not "
                "dropped it: the clocks of caller and worker disagree. The time left when it was sent counts",
                -by_clock,
            )
        return time_left
    if by_clock > time_left + _ON_THE_WAY and "behind" not in _warned:
        _warned.add("behind")
        _log.warning(
            "by this machine's clock a request has %.3f s left, although it was sent with %.3f s: the clocks of caller "
            "and worker disagree. The time left when it was sent counts",
            by_clock, time_left,
        )  # fmt: skip
    return min(time_left, by_clock)
