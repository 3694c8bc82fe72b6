"""Many deadlines with few timers.

A timer per call costs more than sending the call. Deadlines that fall close together share one timer instead, so that
arming and disarming is one dictionary operation.
"""

from __future__ import annotations

import math
from contextvars import Context
from typing import TYPE_CHECKING, Generic, TypeVar

from rabibridge_core._clock import is_virtual

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Hashable

__all__ = ["DeadlineWheel", "time_remaining"]

_ON_THE_WAY = 0.1
"""How long after its deadline a request may arrive even if the clocks agree, in seconds: the broker counts from the
time when the request reaches the queue, and delivery takes time."""

KeyT = TypeVar("KeyT", bound="Hashable")


class DeadlineWheel(Generic[KeyT]):
    """Calls ``expired(key)`` when the time given to a key has passed.

    It is never early. It is late by at most 1 ms for times below half a second, 1/64 s below 8 s, 1/8 s below a minute,
    1 s below ten minutes and 8 s above, in addition to any delay of the event loop itself. Keys that expire together do
    so in the order in which they were armed.
    """

    __slots__ = ("_expired", "_last", "_last_from", "_last_least", "_last_slot", "_loop", "_slots", "_timers")

    def __init__(self, loop: asyncio.AbstractEventLoop, expired: Callable[[KeyT], None]) -> None:
        """Use the clock of ``loop``; call ``expired`` with each key whose time has passed."""
        self._loop = loop
        self._expired = expired
        self._slots: dict[float, dict[KeyT, None]] = {}
        self._timers: dict[float, asyncio.TimerHandle] = {}
        # The slot used last: most calls end in the same slot as the call before. It accepts deadlines after _last_from
        # with at least _last_least seconds left, for which the precision of this slot is sufficient.
        self._last: dict[KeyT, None] = {}
        self._last_slot = self._last_from = -math.inf
        self._last_least = 0.0

    def add(self, key: KeyT, seconds: float) -> float:
        """Arm ``key``; return the slot for :meth:`discard`."""
        end = self._loop.time() + seconds
        if self._last_from < end <= self._last_slot and seconds >= self._last_least:
            self._last[key] = None
            return self._last_slot
        least, per_second = _slots_for(seconds)
        exact = is_virtual(self._loop)  # virtual time has no cost that slots could save, and tests count on its seconds
        slot = end if exact else math.ceil(end * per_second) / per_second
        keys = self._slots.get(slot)
        if keys is None:
            keys = self._slots[slot] = {}
            # In a new context: the timer would keep the context of the first call in this slot until it fires.
            self._timers[slot] = self._loop.call_at(slot, self._fire, slot, context=Context())
        keys[key] = None
        self._last, self._last_slot, self._last_least = keys, slot, least
        self._last_from = slot if exact else slot - 1 / per_second
        return slot

    def discard(self, key: KeyT, slot: float) -> None:
        """Disarm ``key``; no effect if it has expired."""
        keys = self._slots.get(slot)
        if keys is not None:
            keys.pop(key, None)

    def clear(self) -> None:
        """Disarm all keys and cancel the timers, which would otherwise keep the wheel alive until they fire."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._slots.clear()
        self._forget_last()

    def __len__(self) -> int:
        """Return the number of armed keys."""
        return sum(map(len, self._slots.values()))

    def _forget_last(self) -> None:
        self._last_slot = -math.inf
        self._last = {}

    def _fire(self, slot: float) -> None:
        del self._timers[slot]
        if slot == self._last_slot:
            self._forget_last()
        for key in self._slots.pop(slot):
            self._expired(key)


# Minimum number of seconds, and number of slots per second from there on: fewer for distant deadlines, since each slot
# stays until it fires.
_SLOTS_FROM = ((600.0, 0.125), (60.0, 1.0), (8.0, 8.0), (0.5, 64.0))


def _slots_for(seconds: float) -> tuple[float, float]:
    for least, per_second in _SLOTS_FROM:
        if seconds >= least:
            return least, per_second
    return -math.inf, 1024.0


def time_remaining(time_left: float | None, deadline: float | None, now: float) -> float | None:
    """Return how long a message may be kept at most, in seconds, if nothing is known about its sender's clock.

    Args:
        time_left: the time left when it was sent, in seconds; ``None``: no limit.
        deadline: the deadline by the sender's clock, in seconds since 1970; ``None``: unknown.
        now: this machine's clock, in seconds since 1970.
    """
    if deadline is None:
        return time_left
    by_clock = deadline - now
    if time_left is None:
        return by_clock
    # One that is long over was delivered all the same: the clocks may differ.
    return time_left if by_clock <= -_ON_THE_WAY and time_left > 0 else min(time_left, by_clock)
