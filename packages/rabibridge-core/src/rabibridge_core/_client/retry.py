"""Retry policy for refused calls: attempts, back-off and retry budget."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from rabibridge_core._client.retry_budget import RetryBudget, SpentBudget
from rabibridge_core._concurrency.durations import as_seconds
from rabibridge_core.errors import ConfigurationError

__all__ = ["RetryBudgets", "RetryRefused"]

_BUDGETS_KEPT = 4096
_SHARED_KEPT = 64
_DOUBLINGS = 64
"""More doublings make no difference: the cap is reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryRefused:
    """Retry policy: send calls again that a full queue refused, after a random wait, within a budget.

    A call that is sent again remains one call: it keeps its id and its timeout, and ends like any other. Retrying is
    safe because a refused call did not run; no other failure is retried.

    Each wait is drawn uniformly between 0 and :meth:`longest_wait`, so that calls that were refused together do not
    return together. If the backlog could not be worked off in the time that the call has left after the wait, the
    refusal goes to the caller immediately.

    The budget keeps retries from multiplying an overload. It is a token bucket per client and service: the first
    attempt of each call adds ``ratio`` tokens and each retry takes one. If there is none, the refusal goes to the
    caller immediately. So a client sends at most ``(1 + ratio) * calls + burst`` requests to a service. Policies with
    equal values share their buckets. With ``budget``, all services share one instead.

    Attributes:
        attempts: maximum number of times that a call is sent, including the first.
        base: upper bound of the first wait, in seconds or as a timedelta, unless a longer ``retry_after`` is known.
        cap: upper bound of every wait, in seconds or as a timedelta.
        ratio: retries that each call adds to the budget, from 0 to 1.
        burst: size of the budget, which is full at first: the number of retries that a service can get at once.
        budget: a budget that all services of the client share, in place of ``ratio`` and ``burst``; ``None``: each
            service has one of its own.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    attempts: int = 5
    base: float = 0.05
    cap: float = 5.0
    ratio: float = 0.1
    burst: int = 10
    budget: RetryBudget | None = None

    def __post_init__(self) -> None:
        """Check every value."""
        base, cap, ratio = as_seconds(self.base), as_seconds(self.cap), as_seconds(self.ratio)
        _check("attempts", self.attempts, _is_whole(self.attempts, 1), "a whole number of at least 1")
        _check("base", self.base, base is not None and 0 < base < math.inf, "more than 0 seconds")
        object.__setattr__(self, "base", base)
        _check("cap", self.cap, cap is not None and self.base <= cap < math.inf, f"at least base={self.base} seconds")
        object.__setattr__(self, "cap", cap)
        _check("ratio", self.ratio, ratio is not None and 0 <= ratio <= 1, "a number from 0 to 1")
        _check("burst", self.burst, _is_whole(self.burst, 0), "a whole number of at least 0")
        allowed = "a RetryBudget, or None for one of each service"
        _check("budget", self.budget, self.budget is None or isinstance(self.budget, RetryBudget), allowed)

    def longest_wait(self, attempts: int, retry_after: float | None) -> float:
        """Return the upper bound of the wait after ``attempts`` attempts, in seconds.

        It starts with the time needed to work off the backlog, since places in a full queue become free evenly over
        that time. It doubles with each attempt: repeated refusal means that more calls wait for a place than there are
        places.

        Args:
            attempts: how often the call was sent and refused, at least 1.
            retry_after: that of the last refusal, in seconds; ``None``: unknown.
        """
        return min(self.cap, max(self.base, retry_after or 0.0) * 2.0 ** min(attempts - 1, _DOUBLINGS))


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check(name: str, value: object, fits: bool, allowed: str) -> None:
    if not fits:
        raise ConfigurationError(f"RetryRefused: {name} is {value!r}; it must be {allowed}")


class RetryBudgets:
    """The token buckets of the services, per policy.

    There are at most 4,096, and 64 shared budgets; the least recently used is dropped first, and starts anew when it is
    used again.
    """

    def __init__(self) -> None:
        """Start with full buckets."""
        self._tokens: OrderedDict[tuple[RetryRefused, str], float] = OrderedDict()
        self._shared: OrderedDict[RetryBudget, SpentBudget] = OrderedDict()

    def earn(self, retry: RetryRefused, route: str, now: float) -> None:
        """Add what the first attempt of a call earns; ``now`` in seconds."""
        if retry.budget is not None:
            self._spent(retry.budget).earn(now)
            return
        tokens = self._tokens
        bucket = (retry, route)
        tokens[bucket] = min(retry.burst, tokens.get(bucket, retry.burst) + retry.ratio)
        tokens.move_to_end(bucket)
        if len(tokens) > _BUDGETS_KEPT:
            tokens.popitem(last=False)

    def spend(self, retry: RetryRefused, route: str, now: float) -> bool:
        """Take a token; return whether there was one."""
        if retry.budget is not None:
            return self.spend_shared(retry.budget, now)
        bucket = (retry, route)
        left = self._tokens.get(bucket, retry.burst) - 1
        if left < -1e-9:  # ten times a tenth is a little less than one
            return False
        self._tokens[bucket] = left
        return True

    def spend_shared(self, budget: RetryBudget, now: float) -> bool:
        """Take a retry from a budget that all services share; return whether there was one."""
        return self._spent(budget).spend(now)

    def _spent(self, budget: RetryBudget) -> SpentBudget:
        spent = self._shared.get(budget)
        if spent is None:
            spent = self._shared[budget] = SpentBudget(budget)
            if len(self._shared) > _SHARED_KEPT:
                self._shared.popitem(last=False)
        else:
            self._shared.move_to_end(budget)
        return spent
