"""When a second copy of a call is sent, and how many: policy, budget and measurements, without any I/O."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

from rabibridge_core._client.latency_window import LatencyWindow
from rabibridge_core._concurrency.durations import as_seconds
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from rabibridge_core._client.backlog import BacklogEstimates

__all__ = ["BATCH", "AnyHedge", "Hedge", "HedgedService", "HedgedServices", "as_hedge", "pushed_back"]

BATCH = "batch"
"""The class of criticality whose calls are never hedged: nobody waits for one of them."""
_SERVICES_KEPT = 256
_LEAST_DELAY = 0.001
_PUSHED_BACK = 1.0
"""How long a service that has refused a call gets no hedges, in seconds, if its backlog is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """When a second copy of an idempotent call is sent, while the first has no answer: exactly one of the first two.

    The budget keeps hedges from becoming a load of their own. It is a token bucket per client and service: each call
    adds ``ratio`` tokens, each second copy takes one, and there is one at first. So a client sends at most
    ``1 + ratio * calls`` copies, whatever becomes slow. A copy for which there is no token waits for one. With a
    percentile, half of ``burst`` is kept for calls that take twice as long. Policies with equal values share their
    buckets.

    Attributes:
        percentile: after the time in which this share of the calls of the service is answered, from 0.5 to 0.999:
            0.95 is 95 %. The client measures it, over the last 1,024 calls of the last minute that were made with such
            a policy. Nothing is hedged before 20 were answered, or so many that the percentile is among them: 100 for
            0.99.
        after: after this time, in seconds or as a timedelta, more than 0.
        ratio: second copies that each call adds to the budget, from 0 to 1.
        burst: the largest number of tokens: second copies that can be sent at once when a worker stands still.

    Raises:
        ConfigurationError: a value is out of its range, or not exactly one of ``percentile`` and ``after`` is given.
    """

    percentile: float | None = None
    after: float | timedelta | None = None
    ratio: float = 0.05
    burst: int = 20

    def __post_init__(self) -> None:
        """Check every value."""
        if (self.percentile is None) == (self.after is None):
            raise ConfigurationError("Hedge: give either percentile=, such as 0.95, or after=, in seconds")
        if self.percentile is not None:
            share = as_seconds(self.percentile) if not isinstance(self.percentile, timedelta) else None
            _check("percentile", self.percentile, share is not None and 0.5 <= share <= 0.999, "from 0.5 to 0.999")
            object.__setattr__(self, "percentile", share)
        else:
            after = as_seconds(self.after)
            _check("after", self.after, after is not None and 0 < after < math.inf, "more than 0 seconds")
            object.__setattr__(self, "after", after)
        ratio = as_seconds(self.ratio) if not isinstance(self.ratio, timedelta) else None
        _check("ratio", self.ratio, ratio is not None and 0 <= ratio <= 1, "a number from 0 to 1")
        whole = isinstance(self.burst, int) and not isinstance(self.burst, bool)
        _check("burst", self.burst, whole and self.burst >= 1, "a whole number of at least 1")


AnyHedge: TypeAlias = "Hedge | float | timedelta | Literal[False]"
"""What is taken for a policy: a number is a percentile, a timedelta a time, ``False`` none."""


def as_hedge(given: object) -> Hedge | Literal[False] | None:
    """Return the policy that a caller gave; ``None``: nothing was given; ``False``: no second copies.

    Raises:
        ConfigurationError: it is neither a percentile, a timedelta, a :class:`Hedge` nor ``False``.
    """
    if given is None or given is False or isinstance(given, Hedge):
        return given
    if isinstance(given, timedelta):
        return _made(None, given.total_seconds())
    share = as_seconds(given)
    if share is None or not 0.5 <= share <= 0.999:
        raise ConfigurationError(
            f"hedge is {given!r}; it must be a percentile from 0.5 to 0.999, such as 0.95, a timedelta, a Hedge, "
            "such as Hedge(after=0.2) with seconds, or False for none: a plain number is never a time"
        )
    return _made(share, None)


@lru_cache(maxsize=256)
def _made(percentile: float | None, after: float | None) -> Hedge:
    return Hedge(percentile=percentile, after=after)


def _check(name: str, value: object, fits: bool, allowed: str) -> None:
    if not fits:
        raise ConfigurationError(f"Hedge: {name} is {value!r}; it must be {allowed}")


class HedgedService:
    """What is known of one service that is called with one policy."""

    __slots__ = ("_policy", "_tokens", "latencies")

    def __init__(self, policy: Hedge) -> None:
        """Begin with one token."""
        self._policy = policy
        self._tokens = 1.0
        self.latencies = LatencyWindow()
        """How long calls take that are answered; the shortest possible time, if the second copy was first."""

    def called(self) -> None:
        """Add what a call earns."""
        self._tokens = min(float(self._policy.burst), self._tokens + self._policy.ratio)

    def spend(self, *, late: bool) -> bool:
        """Take a token; return whether there was one for this call.

        Args:
            late: whether it has taken twice the time after which its copy was due.
        """
        # With a percentile, calls that are slow as usual would spend all that is earned, and leave nothing for those
        # that have come to a worker that stands still.
        kept = 0 if late or self._policy.percentile is None else self._policy.burst // 2
        if self._tokens - kept < 1.0 - 1e-9:  # twenty times a twentieth is a little less than one
            return False
        self._tokens -= 1.0
        return True

    def delay(self, now: float) -> float | None:
        """Return after how many seconds the second copy of a call is due; ``None``: that is not known yet."""
        percentile, after = self._policy.percentile, self._policy.after
        if percentile is None:
            assert isinstance(after, float)
            return after
        measured = self.latencies.quantile(percentile, now)
        return None if measured is None else max(_LEAST_DELAY, measured)


class HedgedServices:
    """The services that one client calls with a policy. There are at most 256; the least recently used goes first.

    Attributes:
        sent: how many second copies were sent.
        won: how many of them were answered first.
    """

    def __init__(self) -> None:
        """Know none."""
        self.sent = self.won = 0
        self._services: OrderedDict[tuple[Hedge, str], HedgedService] = OrderedDict()

    def called(self, policy: Hedge, route: str) -> HedgedService:
        """Return the service of a call that is made now, with what the call earns."""
        key = policy, route
        service = self._services.get(key)
        if service is None:
            service = self._services[key] = HedgedService(policy)
            if len(self._services) > _SERVICES_KEPT:
                self._services.popitem(last=False)
        else:
            self._services.move_to_end(key)
        service.called()
        return service


def pushed_back(backlogs: BacklogEstimates, route: str, now: float) -> bool:
    """Tell whether a service has refused a call, and its backlog may not be worked off: it gets no hedges then."""
    backlog = backlogs.get(route)
    if backlog is None:
        return False
    estimate = backlog.estimate(now)
    return now - backlog.refused_at <= (_PUSHED_BACK if estimate is None else estimate)
