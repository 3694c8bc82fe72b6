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

    __slots__ = ("_expired", "_last", "_last_from", "_last_least", "_last_slot", "_loop", "_slots", "_time", "_timers")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[KeyT], None]) -> None:
        """Use the clock of ``loop`` and tell ``expired``."""
        self._loop = loop
        self._time = loop.time
        self._expired = expired
        self._slots: dict[float, set[KeyT]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}
        # The slot used last: most calls end in the same one as the call before. It takes what ends after _last_from
        # and has at least _last_least seconds, so that it may be as late as this slot makes it.
        self._last: set[KeyT] = set()
        self._last_slot = self._last_from = -math.inf
        self._last_least = 0.0

    def add(self, key: KeyT, seconds: float) -> float:
        """Arm ``key`` and return the slot that :meth:`discard` wants."""
        end = self._time() + seconds
        if self._last_from < end <= self._last_slot and seconds >= self._last_least:
            self._last.add(key)
            return self._last_slot
        least, per_second = _slots_for(seconds)
        slot = math.ceil(end * per_second) / per_second
        keys = self._slots.get(slot)
        if keys is None:
            keys = self._slots[slot] = set()
            # In a context of its own: that of the first call of a slot would be kept until the slot fires.
            self._timers[slot] = self._loop.call_at(slot, self._fire, slot, context=Context())
        keys.add(key)
        self._last, self._last_slot, self._last_from, self._last_least = keys, slot, slot - 1 / per_second, least
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
        self._forget_last()

    def __len__(self) -> int:
        """Return how many keys are armed."""
        return sum(map(len, self._slots.values()))

    def _forget_last(self) -> None:
        self._last_slot = -math.inf
        self._last = set()

    def _fire(self, slot: float) -> None:
        del self._timers[slot]
        if slot == self._last_slot:
            self._forget_last()
        for key in self._slots.pop(slot):
            self._expired(key)


# The least seconds, and how many slots there are in a second from there on: few for times far ahead, since each slot
# stays until it fires.
_SLOTS_FROM = ((600.0, 0.125), (60.0, 1.0), (8.0, 8.0), (0.5, 64.0))


def _slots_for(seconds: float) -> tuple[float, float]:
    for least, per_second in _SLOTS_FROM:
        if seconds >= least:
            return least, per_second
    return -math.inf, 1024.0


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
