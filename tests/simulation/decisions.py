"""Everything that chance decides in a simulation, as numbers, so that a run can be repeated on another commit."""

from __future__ import annotations

import random

__all__ = ["Decisions"]


class Decisions:
    """Draws decisions from a seed, or repeats those of an earlier run.

    A repeated run may ask for more decisions than there are, since its engines were changed: then the first choice is
    taken, which is always the calm one.

    Attributes:
        taken: the decisions so far.
    """

    def __init__(self, seed: int, given: list[int] | None = None) -> None:
        """Draw from ``seed``; ``given``: repeat these instead."""
        self.taken: list[int] = []
        self._given = None if given is None else iter(given)
        self._random = random.Random(seed)

    def choose(self, count: int) -> int:
        """Return a number below ``count``."""
        if count <= 1:
            return 0
        number = int(self._random.random() * count) if self._given is None else next(self._given, 0) % count
        self.taken.append(number)
        return number

    def delay(self) -> float:
        """Return how long a message is under way, in seconds: mostly nothing, sometimes long."""
        number = self.choose(64)
        if number < 32:
            return 0.0
        if number < 62:
            return (number - 31) * 0.0003
        return 0.25 if number == 62 else 0.9
