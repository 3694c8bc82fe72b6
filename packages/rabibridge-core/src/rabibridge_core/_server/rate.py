"""The share that one worker has of the rate of a service, as a token bucket.

Nothing here waits or asks: times are given, and the number of workers is reported. So a whole set of workers runs in a
test without a clock.
"""

from __future__ import annotations

import math

__all__ = ["BURST", "JOIN_WAIT", "LOOK_INTERVAL", "RateShare"]

BURST = 0.1
"""How many seconds' worth of its share a worker may start at once after a pause; at least one call."""
LOOK_INTERVAL = 0.5
"""Interval in seconds at which each worker asks the broker how many workers the service has."""
JOIN_WAIT = 2 * LOOK_INTERVAL
"""For so many seconds a worker that joins others starts no call: by then they have seen it, and take less."""
_ALMOST = 1.0 - 1e-9


class RateShare:
    """The tokens of one worker: each call that starts takes one, and they come back at the rate of its share.

    A share is the rate of the service by the number of its workers. While that number is not known, there are no
    tokens.
    """

    __slots__ = ("_at", "_joins", "_tokens", "rate", "total", "workers")

    def __init__(self, total: float) -> None:
        """Share ``total`` calls per second; without tokens until :meth:`observed` is called."""
        self.total = total
        self.workers = 0
        """How many workers the service had when they were last counted; 0: that is not known yet."""
        self.rate = 0.0
        """The share, in calls per second."""
        self._tokens = 0.0
        self._at = 0.0
        """Up to when tokens were counted; in the future: none is given out before."""
        self._joins = True

    @property
    def known(self) -> bool:
        """Whether the number of workers is known."""
        return not self._joins

    def observed(self, workers: int, now: float) -> None:
        """Called with the number of workers, this one included, which receives calls."""
        workers = max(1, workers)
        self._refill(now)
        if self._joins:
            self._joins = False
            self._tokens = 0.0 if workers > 1 else math.inf  # as much as fits, see below
            self._at = max(self._at, now + JOIN_WAIT) if workers > 1 else now
        self._share(workers)

    def resize(self, total: float, now: float) -> None:
        """Share another rate from now on."""
        self._refill(now)
        self.total = total
        if self.workers:
            self._share(self.workers)

    def _share(self, workers: int) -> None:
        self.workers = workers
        self.rate = self.total / workers
        self._tokens = min(self._tokens, self.burst)

    def left(self) -> None:
        """Called when this worker receives no more calls: the others no longer count it, and it joins again later."""
        self._joins = True

    @property
    def burst(self) -> float:
        """The most tokens that there can be."""
        return max(1.0, self.rate * BURST)

    def joining(self, now: float) -> bool:
        """Tell whether it waits until the other workers have seen it."""
        return self._at > now

    def take(self, now: float) -> bool:
        """Take a token; return whether there was one."""
        self._refill(now)
        if self._joins or self._at > now or self._tokens < _ALMOST:
            return False
        self._tokens -= 1.0
        return True

    def give_back(self) -> None:
        """Give a token back whose call has not started."""
        self._tokens = min(self._tokens + 1.0, self.burst)

    def wait(self, now: float, place: int) -> float:
        """Return in how many seconds the call at this place of the line gets a token; the first place is 1."""
        if self._joins:
            return 0.0  # it is not known
        self._refill(now)
        return max(0.0, self._at - now) + max(0.0, place * _ALMOST - self._tokens) / self.rate

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
            self._at = now
