"""A retry budget that all services of a client share: how many refused calls it sends again in all."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from rabibridge_core._concurrency.durations import as_seconds
from rabibridge_core.errors import ConfigurationError

__all__ = ["WINDOW", "RetryBudget", "SpentBudget"]

WINDOW = 10.0
"""How long a call and a retry count, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryBudget:
    """A retry budget that all services of a client share, as the ``budget`` of a :class:`RetryRefused`.

    Within ten seconds a client sends at most ``ratio * calls + 10 * per_second`` requests again, to all services
    together, also from ``map``. A retry counts from when it is decided: calls that wait to be sent again have taken
    theirs. Policies with equal budgets share one.

    Attributes:
        ratio: retries for each call that may be sent again, from 0 to 1.
        per_second: further retries per second, for clients that make few calls.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    ratio: float = 0.2
    per_second: float = 1.0

    def __post_init__(self) -> None:
        """Check every value."""
        for name, most in (("ratio", 1.0), ("per_second", math.inf)):
            given = getattr(self, name)
            value = as_seconds(given) if isinstance(given, int | float) else None
            if value is None or not 0 <= value <= most or value == math.inf:
                allowed = "a number from 0 to 1" if most == 1 else "a number of at least 0"
                raise ConfigurationError(f"RetryBudget: {name} is {given!r}; it must be {allowed}")
            object.__setattr__(self, name, value)


class SpentBudget:
    """What a client has earned and spent of one budget within the last ten seconds, in slots of one second."""

    __slots__ = ("_calls", "_policy", "_retries", "_slots")

    def __init__(self, policy: RetryBudget) -> None:
        """Start with no calls."""
        self._policy = policy
        self._calls = self._retries = 0
        self._slots: deque[list[int]] = deque()

    def earn(self, now: float) -> None:
        """Count a call; ``now`` in seconds."""
        self._slot(now)[1] += 1
        self._calls += 1

    def spend(self, now: float) -> bool:
        """Take a retry; return whether there was one."""
        slot = self._slot(now)
        if self._retries + 1 > self._policy.ratio * self._calls + self._policy.per_second * WINDOW + 1e-9:
            return False
        slot[2] += 1
        self._retries += 1
        return True

    def _slot(self, now: float) -> list[int]:
        second, slots = math.floor(now), self._slots
        while slots and slots[0][0] <= second - WINDOW:
            _, calls, retries = slots.popleft()
            self._calls -= calls
            self._retries -= retries
        if not slots or slots[-1][0] != second:
            slots.append([second, 0, 0])
        return slots[-1]
