"""A circuit breaker: policy and state of one service, without any input or output.

Every call that is let through gets a permit and gives it back when it ends, however it ends. A permit knows the period
in which it was given: a call that began before the circuit opened says nothing about the service of now.
"""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from rabibridge_core._concurrency.durations import as_seconds
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

__all__ = ["Circuit", "CircuitBreaker", "CircuitState", "Outcome", "Permit"]

Outcome: TypeAlias = Literal["success", "failure", "neither"]
"""What the end of a call says about its service."""
CircuitState: TypeAlias = Literal["closed", "open", "half-open"]
_SLOTS = 10
_SPREAD = 0.1
"""By how much the time to the next probe is longer at most, so that many clients do not probe together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CircuitBreaker:
    """A circuit breaker for each service that a client calls with it: stop calling what fails, and probe it.

    It is closed at first. When ``minimum`` calls or more have ended within ``window``, and the share ``failures`` of
    them has failed, it opens: calls end at once with a :class:`~rabibridge_core.errors.CircuitOpenError`, and are not
    sent. After ``open_for`` it lets one call through as a probe, and refuses others meanwhile. A probe that fails opens
    it again for as long; after ``probes`` successes in a row it closes. A probe that says nothing about the service, as
    it was cancelled for example, is followed by the next one. Policies with equal values share their circuits.

    Attributes:
        failures: the share of failed calls at which it opens, more than 0 and at most 1.
        minimum: fewer ended calls do not open it.
        window: how long an ended call counts, in seconds or as a timedelta.
        open_for: the time to the next probe, in seconds or as a timedelta; up to a tenth longer, at random.
        probes: successful probes that close it.

    Raises:
        ConfigurationError: a value is out of its range.
    """

    failures: float = 0.5
    minimum: int = 20
    window: float | timedelta = 10.0
    open_for: float | timedelta = 5.0
    probes: int = 1

    def __post_init__(self) -> None:
        """Check every value."""
        share = as_seconds(self.failures) if isinstance(self.failures, int | float) else None
        _check("failures", self.failures, share is not None and 0 < share <= 1, "more than 0 and at most 1")
        for name in ("minimum", "probes"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            _check(name, value, whole and value >= 1, "a whole number of at least 1")
        for name in ("window", "open_for"):
            seconds = as_seconds(getattr(self, name))
            fits = seconds is not None and 0 < seconds < math.inf
            _check(name, getattr(self, name), fits, "more than 0 seconds")
            object.__setattr__(self, name, seconds)


def _check(name: str, value: object, fits: bool, allowed: str) -> None:
    if not fits:
        raise ConfigurationError(f"CircuitBreaker: {name} is {value!r}; it must be {allowed}")


class Permit(NamedTuple):
    """Lets one call through.

    Attributes:
        period: that in which it was given.
        probe: whether the call is a probe.
    """

    period: int
    probe: bool


class Circuit:
    """The circuit of one service.

    Attributes:
        state: what it does with calls.
        next_probe: when the next probe may be sent, on the clock of the calls; meaningless while it is closed.
    """

    __slots__ = (
        "_ended", "_failed", "_open_for", "_period", "_policy", "_probing", "_random", "_slots", "_successes",
        "_window", "next_probe", "state",
    )  # fmt: skip

    def __init__(self, policy: CircuitBreaker, chance: Callable[[], float] = random.random) -> None:
        """Start closed; ``chance`` returns a number from 0 to 1."""
        self._policy, self._random = policy, chance
        assert isinstance(policy.window, float)
        assert isinstance(policy.open_for, float)
        self._window, self._open_for = policy.window, policy.open_for
        self.state: CircuitState = "closed"
        self.next_probe = 0.0
        self._period = 0
        self._probing = False
        self._successes = self._ended = self._failed = 0
        self._slots: deque[list[int]] = deque()

    def enter(self, now: float) -> Permit | None:
        """Return what lets a call through; ``None``: it must not be sent. ``now`` in seconds."""
        if self.state == "closed":
            return Permit(self._period, probe=False)
        if self._probing or (self.state == "open" and now < self.next_probe):
            return None
        self.state, self._probing = "half-open", True
        self.next_probe = self._later(now)
        return Permit(self._period, probe=True)

    def leave(self, permit: Permit, outcome: Outcome, now: float) -> bool:
        """Take a permit back, once, and say how its call has ended; return whether the circuit has opened or closed."""
        if permit.period != self._period:
            return False
        if permit.probe:
            self._probing = False
            if outcome == "success":
                self._successes += 1
                if self._successes >= self._policy.probes:
                    self._begin("closed")
                    return True
            elif outcome == "failure":
                self._begin("open")
                self.next_probe = self._later(now)
            return False
        if outcome == "neither" or not self._count(outcome == "failure", now):
            return False
        self._begin("open")
        self.next_probe = self._later(now)
        return True

    def wait(self, now: float) -> float:
        """Return how long it takes to the next probe, in seconds, as far as it is known."""
        return max(0.0, self.next_probe - now)

    def _begin(self, state: CircuitState) -> None:
        self.state, self._probing = state, False
        self._period += 1
        self._successes = self._ended = self._failed = 0
        self._slots.clear()

    def _later(self, now: float) -> float:
        return now + self._open_for * (1.0 + _SPREAD * self._random())

    def _count(self, failed: bool, now: float) -> bool:
        """Count an ended call; return whether that is too much."""
        number, slots = math.floor(now / self._window * _SLOTS), self._slots
        while slots and slots[0][0] <= number - _SLOTS:
            _, ended, failures = slots.popleft()
            self._ended -= ended
            self._failed -= failures
        if not slots or slots[-1][0] != number:
            slots.append([number, 0, 0])
        slots[-1][1] += 1
        slots[-1][2] += failed
        self._ended += 1
        self._failed += failed
        policy = self._policy
        return failed and self._ended >= policy.minimum and self._failed >= policy.failures * self._ended - 1e-9
