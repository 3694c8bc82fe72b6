"""Quantiles of the recent latencies of one service: bounded memory, and what is old does not count."""

from __future__ import annotations

import math
from array import array

__all__ = ["LIFETIME", "SIZE", "LatencyWindow"]

SIZE = 1024
"""How many latencies are kept."""
LIFETIME = 60.0
"""How long one counts, in seconds."""
_LEAST = 20
"""A quantile of fewer latencies is not told."""
_EVERY, _SECONDS = 32, 1.0
"""A quantile is computed anew after so many further latencies, or after so long."""


class LatencyWindow:
    """The last 1,024 latencies of the last minute; it takes 16 KiB."""

    __slots__ = ("_asked", "_at", "_known", "_next", "_seconds", "_since", "_when")

    def __init__(self) -> None:
        """Start empty."""
        self._seconds, self._when = array("d"), array("d")
        self._next = 0
        self._known: float | None = None
        self._asked = math.nan
        self._at = -math.inf
        self._since = 0

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._seconds)

    def add(self, seconds: float, now: float) -> None:
        """Add a latency that has ended at ``now``; both in seconds."""
        self._since += 1
        if len(self._seconds) < SIZE:
            self._seconds.append(seconds)
            self._when.append(now)
            return
        self._seconds[self._next], self._when[self._next] = seconds, now
        self._next = (self._next + 1) % SIZE

    def quantile(self, share: float, now: float) -> float | None:
        """Return the time in which this share of the calls is answered, in seconds; ``None``: too few are known.

        It may be a second old, or 32 latencies.
        """
        fresh = share == self._asked and self._since < _EVERY and 0 <= now - self._at < _SECONDS
        if not fresh or (self._known is None and len(self._seconds) <= 2 * _EVERY):
            self._asked, self._since, self._at = share, 0, now
            self._known = self._computed(share, now - LIFETIME)
        return self._known

    def _computed(self, share: float, oldest: float) -> float | None:
        recent = [seconds for seconds, when in zip(self._seconds, self._when, strict=True) if when >= oldest]
        # So many that at least one lies above the quantile.
        if len(recent) < max(_LEAST, math.floor(1.0 / (1.0 - share) + 0.5)):
            return None
        recent.sort()
        return recent[min(len(recent) - 1, math.ceil(share * len(recent)) - 1)]
