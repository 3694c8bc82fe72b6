"""How refused calls are sent again: how often, after which waits, and at most how many of all calls."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from rabibridge_core.errors import ConfigurationError

__all__ = ["RetryBudgets", "RetryRefused"]

_BUDGETS_KEPT = 4096
_DOUBLINGS = 64
"""More make no difference: the cap is reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRefused:
    """Send calls again that a full queue refused, after a random wait, as far as a budget allows.

    A call that is sent again is one call still: it keeps its id and its timeout, and ends as any other. What makes it
    safe is that a refused call did not run; no other failure is retried.

    Each wait is drawn evenly from nothing up to :meth:`longest_wait`, so that those who were refused together do not
    come back together. A wait is not begun if a queue that is still full after it could not be worked off in what is
    left of the call's time: the refusal goes to the caller at once.

    The budget keeps retries from multiplying an overload. It is a bucket of tokens for each client and service: the
    first attempt of each call puts ``ratio`` tokens in, each retry takes one out, and where there is none the refusal
    goes to the caller at once. So a client sends at most ``(1 + ratio) * calls + burst`` requests to a service. Calls
    with equal values here share their buckets.

    Attributes:
        attempts: how often a call is sent at most, the first time included.
        base: what the first wait is drawn from, in seconds, where no longer ``retry_after`` is known.
        cap: no wait is longer than this, in seconds.
        ratio: retries that each call earns, from 0 to 1.
        burst: retries that a service can have at once; a bucket holds no more, and begins with so many.

    Raises:
        ConfigurationError: a value is outside its range.
    """

    attempts: int = 5
    base: float = 0.05
    cap: float = 5.0
    ratio: float = 0.1
    burst: int = 10

    def __post_init__(self) -> None:
        """Check every value."""
        _check("attempts", self.attempts, isinstance(self.attempts, int) and self.attempts >= 1, "1 and more")
        _check("base", self.base, 0 < self.base < math.inf, "more than 0 seconds")
        _check("cap", self.cap, self.base <= self.cap < math.inf, f"base={self.base} seconds and more")
        _check("ratio", self.ratio, 0 <= self.ratio <= 1, "0 to 1")
        _check("burst", self.burst, isinstance(self.burst, int) and self.burst >= 0, "0 and more")

    def longest_wait(self, attempts: int, retry_after: float | None) -> float:
        """Return what the wait after so many attempts is drawn from, in seconds.

        It begins with the time in which the backlog will have been worked off, since places in a full queue come free
        evenly over that time, and doubles with each attempt: more calls were refused then than the queue has places.

        Args:
            attempts: how often the call was sent and refused, 1 and more.
            retry_after: what the last refusal said; ``None``: nothing.
        """
        return min(self.cap, max(self.base, retry_after or 0.0) * 2.0 ** min(attempts - 1, _DOUBLINGS))


def _check(name: str, value: object, fits: bool, allowed: str) -> None:
    if not fits:
        raise ConfigurationError(f"RetryRefused({name}={value!r}): allowed is {allowed}")


class RetryBudgets:
    """The tokens of each service, by the settings they were earned with.

    The bucket that was not used for longest is forgotten, and begins full again, where there are more than 4096.
    """

    def __init__(self) -> None:
        """Begin with full buckets."""
        self._tokens: OrderedDict[tuple[RetryRefused, str], float] = OrderedDict()

    def earn(self, retry: RetryRefused, route: str) -> None:
        """Put in what the first attempt of a call earns."""
        tokens = self._tokens
        bucket = (retry, route)
        tokens[bucket] = min(retry.burst, tokens.get(bucket, retry.burst) + retry.ratio)
        tokens.move_to_end(bucket)
        if len(tokens) > _BUDGETS_KEPT:
            tokens.popitem(last=False)

    def spend(self, retry: RetryRefused, route: str) -> bool:
        """Take a token out, and tell whether there was one."""
        bucket = (retry, route)
        left = self._tokens.get(bucket, retry.burst) - 1
        if left < -1e-9:  # ten times a tenth is a little less than one
            return False
        self._tokens[bucket] = left
        return True
