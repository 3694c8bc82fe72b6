"""Finds how many calls of a service should run at a time, from how long they take: ``fetch_size="auto"``.

It is the gradient of throughput against concurrency that decides, measured by small steps up and down, as in extremum
seeking control and in PCC Vivace (Dong and others, NSDI 2018): while calls wait, the limit alternates between a lower
and a higher level. If 35 % more calls at a time give 35 % more results per second, the backend has room, and the limit
grows. If they give none, the calls only wait for each other, and it falls. The limit rests where one percent more
concurrency gives a fifth of a percent more results. The no-load latency, on which the rules of TCP Vegas, of
Netflix's concurrency-limits and of Envoy's adaptive concurrency filter rest, is only a guard here: these need it to be
right, and under lasting overload nobody can measure it. Here a wrong one can slow growth down, and nothing else.

What a level is worth is measured by what a result costs: the time that all calls have spent running, divided by the
number of those that succeeded. So calls that fail quickly, that are cancelled or too late never look like a fast
backend: they cost time, and give no result. Only calls that began at a level count for it.

There is no clock, no timer and no I/O here: whoever starts and ends calls says when that was.
"""

from __future__ import annotations

import random
from collections import deque
from math import exp, log, sqrt

from rabibridge_core._server.measured_level import MeasuredLevel, gradient_between
from rabibridge_core._services.auto import START

__all__ = ["AdaptiveLimit"]

_RATIO, _RATIO_MAX = 1.35, 2.0
"""How far the higher level is above the lower one: further where the times of calls vary much."""
_TARGET = 0.2
"""The gradient at which the limit rests: that of the logarithm of throughput by the logarithm of concurrency."""
_GAIN_MIN, _GAIN_MAX = 0.4, 1.2
"""How strongly the limit follows the gradient: more while it moves in one direction."""
_ROUNDS_MAX = 30
"""How many rounds at the same levels are enough in any case."""
_RISE_MAX, _FALL_MAX = 1.0, 0.8
"""How far the logarithm of the limit moves at once, at most."""
_TRUSTED = 0.4
"""The standard error of a gradient that is followed half as strongly as an exact one."""
_SATURATED = 0.85
"""Which part of the allowed calls must have run, on average over time, for a level to be measured."""
_SAMPLES_MIN, _SAMPLES_MAX = 20, 400
_SECONDS_MIN, _SECONDS_MAX = 0.06, 2.0
"""How long a level is measured, as long as calls take less."""
_FAILING = 0.2
"""From which part of failures on a level is measured although fewer calls run than may: they end too quickly for it."""
_IDLE = 1.0
"""After how many seconds without a call a measurement is given up."""
_RESTS, _SECONDS_RESTING = 3, 1.0
"""How many measurements the limit stays where it is for, once it has arrived, and about how long at most."""
_GUARD = 4.0
"""From how many times the no-load latency on the limit must have a better reason to grow."""
_OWN = 0.9
"""The gradient from which on latency does not depend on this worker: then it is the no-load latency, if it jumped."""


class AdaptiveLimit:
    """How many calls may run at a time: it learns from each one that starts and ends.

    Attributes:
        limit: how many may run now; always from ``minimum`` to ``maximum``.
        minimum: the least that it may become.
        maximum: the most.
        no_load: how long a successful call takes while others do not slow it down, in seconds; ``None``: not known.
        in_flight: how many calls run.
        workers: how many workers press the same backend, with this one: if all do as this one does, what it causes
            alone is that part of what happens.
    """

    __slots__ = (
        "_before", "_centre", "_cost", "_evidence", "_gain", "_jitter", "_jumped", "_last", "_level", "_levels",
        "_mean", "_own", "_rest", "_round", "_spread", "_up", "in_flight", "limit", "maximum", "minimum", "no_load",
        "workers",
    )  # fmt: skip

    def __init__(self, minimum: int, maximum: int, now: float, jitter: random.Random | None = None) -> None:
        """Start at a small limit.

        Args:
            minimum: the least that the limit may become, at least 1.
            maximum: the most.
            now: the time, in seconds, on the clock of all times that are told later.
            jitter: varies when levels are measured, so that workers do not do it together; ``None``: a new one.
        """
        self.minimum, self.maximum = minimum, maximum
        self.no_load: float | None = None
        self.in_flight = 0
        self.workers = 1
        self._jitter = random.Random() if jitter is None else jitter  # noqa: S311 - nothing is kept secret by it
        self._centre = float(min(max(START, minimum), maximum))
        self._gain, self._up = _GAIN_MAX, True
        self._mean = 0.0  # how long calls take at present, of whatever outcome
        self._spread = 1.0  # the standard deviation of that, divided by it
        self._own: deque[float] = deque(maxlen=64)  # the gradients of the last rounds, while calls are slow
        self._jumped = False  # whether latency has risen suddenly
        self._before = (0.0, 1)  # the latency of the round before, and its lower level
        self._evidence: list[tuple[float, float]] = []  # gradients at the present levels, and the weights of these
        self._levels: list[MeasuredLevel] = []  # those of this round, measured
        self._round = self._pair()  # the two levels that are compared
        self._rest = 0
        self._cost = 1.0  # what a result has cost when that was last known, in seconds
        self._last = now
        self.limit = self._resting
        self._level = MeasuredLevel(self.limit, now)

    @property
    def mean(self) -> float:
        """How long calls run at present, of whatever outcome, in seconds; 0: not known."""
        return self._mean

    @property
    def peak(self) -> int:
        """The highest limit of the present round: so many calls should be at hand."""
        return max(self.limit, self._pair()[1])

    def started(self, now: float) -> None:
        """Called when a call starts to run."""
        level = self._level
        if not self.in_flight and now - self._last > _IDLE:
            level = self._restart(now)
        self._pass(now)
        self.in_flight += 1
        level.started(now)

    def ended(self, now: float, started_at: float, *, succeeded: bool) -> None:
        """Called when a call has ended that started at ``started_at``; ``succeeded``: it has given a result."""
        self._pass(now)
        self.in_flight -= 1
        if self._level.ended(now, started_at, succeeded=succeeded):
            self._look(now)

    def _pass(self, now: float) -> None:
        self._level.area += self.in_flight * (now - self._last)
        self._last = now

    def _restart(self, now: float) -> MeasuredLevel:
        """Forget what was measured before a pause."""
        self._levels.clear()
        self._rest, self._last = 0, now
        return self._open(self._resting, now)

    def _look(self, now: float) -> None:
        """See whether the level is measured."""
        level = self._level
        if level.until is None:
            passed = now - level.from_
            wanted = min(max(60 * self._spread**2, _SAMPLES_MIN), _SAMPLES_MAX)
            enough = passed >= _SECONDS_MIN and level.good >= wanted * (1 if passed >= self._mean else 3)
            if not enough and passed < max(_SECONDS_MAX * max(self._spread, 1.0), 4 * self._mean):
                return
            level.until = now
        if level.begun - level.done > level.begun // 20 and now - level.until < min(
            level.until - level.from_, 2 * self._mean
        ):
            return  # those that have begun at this level end soon
        level.close(now)
        self._measured(level, now)

    def _measured(self, level: MeasuredLevel, now: float) -> None:
        """Go on to the next level."""
        if level.begun >= 8:
            mean, spread = level.mean_and_spread()
            weight = 0.6 if mean > self._mean or spread < 1.2 else 0.3
            self._mean += weight * (mean - self._mean) if self._mean else mean
            self._spread += (0.5 if spread > self._spread else 0.15) * (spread - self._spread)
        saturated = level.area >= _SATURATED * level.limit * (now - level.since)
        failing = level.done - level.good > _FAILING * level.done
        if failing:
            level.count_idle_places()  # what fails quickly leaves nothing to run
        if not (saturated or failing) or self.minimum == self.maximum:
            self._learn(level, 0.1)
            self._levels.clear()
            self._rest = 0
            self._open(self._resting, now)
            return
        if self._rest > 0:
            changed = abs(log(level.cost / self._cost)) > max(0.25, 3 * self._spread / sqrt(max(level.good, 1)))
            self._rest = 0 if changed else self._rest - 1
            if changed:
                self._evidence.clear()
            self._go_on(now)
            return
        self._cost = level.cost
        low, high = self._round
        if not self._levels and level.limit not in (low, high):
            self._go_on(now)
            return
        self._levels.append(level)
        if len(self._levels) < 2 or (len(self._levels) == 2 and not self._clear()):
            self._open(high if level.limit == low else low, now)
            return
        self._follow(now)
        self._levels.clear()
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        """Rest, or begin a round at one of two levels, which stay the same until its end."""
        self._round = self._pair()
        self._open(self._resting if self._rest else self._jitter.choice(self._round), now)

    def _clear(self) -> bool:
        """Tell whether two levels differ so much that the first one need not be measured again."""
        gradient, error = gradient_between(self._levels, self._spread)
        return abs(gradient - _TARGET) > 0.3 + 3 * error

    def _follow(self, now: float) -> None:
        """Move the limit by the gradient between two levels, of which one was measured before and after the other."""
        first, other = self._levels[:2]
        if not any(one.good for one in self._levels):
            return  # nothing but failures says nothing about concurrency
        own, gradient, error = self._weigh(*gradient_between(self._levels, self._spread))
        trust = _TRUSTED**2 / (_TRUSTED**2 + error**2)
        step = min(max(gradient, -1.0), 1.0) - _TARGET
        slow = self._is_slow(first if first.limit < other.limit else other, own)
        step = min(step, 0.0) if slow else step
        if error > _TRUSTED and abs(step) < error and len(self._evidence) < _ROUNDS_MAX:
            return  # another round at these levels tells more
        self._evidence.clear()
        up = step > 0
        self._gain = min(self._gain * 1.5, _GAIN_MAX) if up is self._up else max(self._gain / 2, _GAIN_MIN)
        self._up = up
        moved = min(max(self._gain * trust * step, -_FALL_MAX), _RISE_MAX)
        self._centre = min(max(self._centre * exp(moved), self.minimum), self.maximum)
        if abs(step) < 0.25 and not slow:
            self._rest = min(_RESTS, int(_SECONDS_RESTING / max(now - self._levels[-1].since, 0.001)))

    def _weigh(self, own: float, error: float) -> tuple[float, float, float]:
        """Return the gradient of this worker in this round, that of all workers in all rounds, and its error."""
        self._evidence.append((own, 1 / max(error, 0.02) ** 2))
        weight = sum(each for _, each in self._evidence)
        mean = sum(one * each for one, each in self._evidence) / weight
        return own, 1.0 - self.workers * (1.0 - mean), self.workers / sqrt(weight)

    def _is_slow(self, low: MeasuredLevel, gradient: float) -> bool:
        """Tell whether calls take several times the no-load latency, and it is not known that this is the new one."""
        self._learn(low, 0.05)
        if not low.good or self.no_load is None:
            return False
        seconds = low.latency
        before, self._before = self._before, (seconds, low.limit)
        if seconds <= _GUARD * self.no_load:
            self._own.clear()
            return False
        # Other workers may have grown as this one has, and cause it. What they cause comes bit by bit.
        if not self._own:
            self._jumped = seconds > 2 * before[0] * max(low.limit / before[1], 1.0)
        self._own.append(min(max(gradient, -1.0), 2.0))
        count = len(self._own)
        mean = sum(self._own) / count
        variance = sum((one - mean) ** 2 for one in self._own) / count
        if not self._jumped or mean - sqrt(max(variance, 0.01) / count) < _OWN:
            return True
        self._own.clear()
        self.no_load = seconds
        return False

    def _learn(self, level: MeasuredLevel, weight: float) -> None:
        """Take a level's latency for that of no load, if it is lower; if it is a little higher, follow it slowly."""
        if level.good < 8:
            return
        seconds = level.latency
        if self.no_load is None:
            self.no_load = seconds
        elif seconds < self.no_load:
            self.no_load += 0.5 / (1.0 + self._spread**2) * (seconds - self.no_load)
        elif seconds < 1.5 * self.no_load:
            self.no_load += weight * (seconds - self.no_load)

    @property
    def _resting(self) -> int:
        return round(self._centre)

    def _pair(self) -> tuple[int, int]:
        half = sqrt(min(_RATIO + 0.3 * max(self._spread - 1.0, 0.0), _RATIO_MAX))
        low = min(max(round(self._centre / half), self.minimum), self.maximum)
        high = min(max(round(self._centre * half), low + 1), self.maximum)
        return (low, high) if low < high else (max(high - 1, self.minimum), high)

    def _open(self, limit: int, now: float) -> MeasuredLevel:
        """Measure a level from now on."""
        self.limit = limit
        self._level = MeasuredLevel(
            limit, now, before=2 * self.in_flight, settles_in=self._mean * self._jitter.uniform(1.0, 1.5)
        )
        return self._level
