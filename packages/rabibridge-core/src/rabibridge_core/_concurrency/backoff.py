"""Exponential back-off with jitter."""

from __future__ import annotations

import random

__all__ = ["Backoff"]


class Backoff:
    """Delays that double up to a maximum. Each is drawn between half of the nominal delay and all of it."""

    __slots__ = ("_first", "_maximum", "nominal")

    def __init__(self, first: float, maximum: float) -> None:
        """Start with ``first`` seconds; never exceed ``maximum`` seconds."""
        self._first = first
        self._maximum = maximum
        self.nominal = first
        """The next delay before jitter, in seconds."""

    def next(self) -> float:
        """Return the next delay, in seconds, and double the one after it."""
        delay = self.nominal * random.uniform(0.5, 1)
        self.nominal = min(self.nominal * 2, self._maximum)
        return delay

    def reset(self) -> None:
        """Start again with the first delay."""
        self.nominal = self._first
