"""Exponential back-off with jitter."""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """Delays that double up to a maximum."""

    __slots__ = ("_first", "_initial", "_jitter", "_maximum", "nominal")

    def __init__(self, first: float, maximum: float, *, immediate: bool = False, jitter: float = 0.5) -> None:
        """Start with ``first`` seconds; never exceed ``maximum`` seconds.

        Args:
            first: the shortest delay above 0, in seconds.
            maximum: the longest delay, in seconds.
            immediate: whether a delay of 0 comes before ``first``.
            jitter: the part of each delay that is random: 0.5 draws between half of the delay and all of it.
        """
        self._first = first
        self._maximum = maximum
        self._initial = 0.0 if immediate else first
        self._jitter = jitter
        self.nominal = self._initial
        """The next delay before jitter, in seconds."""

    def next(self) -> float:
        """Return the next delay, in seconds, and double the one after it."""
        delay = self.nominal * (1 - random.uniform(0, self._jitter))  # noqa: S311 - jitter, which nobody gains by guessing
        self.nominal = min(max(self.nominal * 2, self._first), self._maximum)
        return delay

    def reset(self) -> None:
        """Start again with the initial delay."""
        self.nominal = self._initial
