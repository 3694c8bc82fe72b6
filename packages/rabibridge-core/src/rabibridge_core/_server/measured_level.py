"""What is measured at one level of concurrency: how long calls run that began at it, and how many give a result."""

from __future__ import annotations

from math import log, sqrt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MeasuredLevel", "gradient_between"]

_LEAST = 1e-9


class MeasuredLevel:
    """The calls that began at one level of concurrency, counted without keeping them.

    Attributes:
        limit: how many calls may run at a time.
        since: when the level was set.
        before: how many calls have to end until those that begin certainly show this level.
        from_: calls that began earlier show the level before.
        until: calls that began later are not needed; ``None``: there are too few.
        begun: how many calls count.
        done: how many of them have ended.
        good: how many have given a result.
        good_seconds: how long these took, in seconds.
        area: how many calls ran, whenever they began, times seconds.
        spent: how long those that count have run, in seconds, once the level is closed.
    """

    __slots__ = (
        "_open_squares", "_open_sum", "_seconds", "_squares", "area", "before", "begun", "done", "from_", "good",
        "good_seconds", "limit", "since", "spent", "until",
    )  # fmt: skip

    def __init__(self, limit: int, now: float, *, before: int = 0, settles_in: float = 0.0) -> None:
        """Measure from now on, or from when the level before shows no more."""
        self.limit, self.since, self.before, self.from_ = limit, now, before, now + settles_in
        self.until: float | None = None
        self.begun = self.done = self.good = 0
        self.good_seconds = self.area = self.spent = 0.0
        self._seconds = self._squares = 0.0
        self._open_sum = self._open_squares = 0.0  # of the times since it was set at which calls began that run still

    def started(self, now: float) -> None:
        """Called when a call starts."""
        if now >= self.from_ and self.until is None:
            self.begun += 1
            offset = now - self.since
            self._open_sum += offset
            self._open_squares += offset * offset

    def ended(self, now: float, started_at: float, *, succeeded: bool) -> bool:
        """Called when a call ends; return whether the level before shows no more."""
        if self.from_ > now:
            self.before -= 1
            if self.before <= 0:  # calls have become much faster
                self.from_ = now
            return False
        if self.from_ <= started_at and (self.until is None or started_at <= self.until):
            seconds, offset = now - started_at, started_at - self.since
            self.done += 1
            self._open_sum -= offset
            self._open_squares -= offset * offset
            self._seconds += seconds
            self._squares += seconds * seconds
            if succeeded:
                self.good += 1
                self.good_seconds += seconds
        return True

    def close(self, now: float) -> None:
        """Count what calls that run still have spent by now."""
        still, age = self.begun - self.done, now - self.since
        self.spent = max(self._seconds + still * age - self._open_sum, _LEAST)
        self._squares += still * age * age - 2 * age * self._open_sum + self._open_squares

    def count_idle_places(self) -> None:
        """Count the places in which no call has run, too."""
        if self.until is not None:
            self.spent = max(self.spent, self.limit * (self.until - self.from_))

    @property
    def cost(self) -> float:
        """How many seconds of calls a result has cost."""
        return self.spent / max(self.good, 0.5)

    @property
    def latency(self) -> float:
        """How long a call with a result takes, in seconds; 0: none has ended."""
        return self.good_seconds / self.good if self.good else 0.0

    def mean_and_spread(self) -> tuple[float, float]:
        """Return how long calls run, in seconds, and the standard deviation of that, divided by it."""
        mean = self.spent / self.begun
        return mean, sqrt(max(self._squares / self.begun - mean * mean, 0.0)) / mean


def gradient_between(levels: Sequence[MeasuredLevel], spread: float) -> tuple[float, float]:
    """Return the gradient of throughput against concurrency between two levels, and its standard error.

    Args:
        levels: a level, another one, and perhaps the first one again, so that what changes steadily has no effect.
        spread: that of the times of calls.
    """
    outer, inner = levels[::2], levels[1]
    good, spent = sum(one.good for one in outer), sum(one.spent for one in outer)
    distance = log(inner.limit / outer[0].limit)
    rise = log(inner.cost / spent * max(good, 0.5))
    error = spread * sqrt(1 / max(good, 0.5) + 1 / max(inner.good, 0.5)) / abs(distance)
    return 1.0 - rise / distance, error
