"""Backends in virtual time, and workers that find out how many calls these bear."""

from __future__ import annotations

import heapq
import itertools
import random
from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from rabibridge_core._server.adaptive_limit import AdaptiveLimit

if TYPE_CHECKING:
    from collections.abc import Callable

Outcome = tuple[float, bool]
"""How long a call takes, in seconds, and whether it gives a result."""


class Backend(Protocol):
    """What handlers call."""

    def call(self, now: float, running: int, dice: random.Random) -> Outcome:
        """Return what becomes of a call that begins now, with so many running together with it."""
        ...


def _varied(seconds: float, spread: float, dice: random.Random) -> float:
    """Vary a time: by nothing at 0, as an exponential distribution at 1."""
    return seconds * (1 - spread + spread * dice.expovariate(1.0)) if spread else seconds


class Quota:
    """Lets ``rate`` calls a second through, one after the other; each takes ``seconds`` besides."""

    def __init__(self, rate: float, seconds: float, spread: float = 0.0) -> None:
        self.rate, self._seconds, self._spread, self._free = rate, seconds, spread, 0.0

    def call(self, now: float, running: int, dice: random.Random) -> Outcome:
        self._free = max(self._free, now) + 1 / self.rate
        return self._free - now + _varied(self._seconds, self._spread, dice), True


class Slots:
    """Runs ``slots`` calls at a time, each for ``seconds``; further ones wait for a slot."""

    def __init__(self, slots: int, seconds: float, spread: float = 0.0) -> None:
        self.seconds, self._spread, self._free = seconds, spread, [0.0] * slots

    def call(self, now: float, running: int, dice: random.Random) -> Outcome:
        ends = max(heapq.heappop(self._free), now) + _varied(self.seconds, self._spread, dice)
        heapq.heappush(self._free, ends)
        return ends - now, True


class Thrashing:
    """Serves up to ``rate`` calls a second, best with ``best`` at a time: latency grows with the square of that."""

    def __init__(self, rate: float, best: int, spread: float = 0.0) -> None:
        self._best, self._seconds, self._spread = best, best / 2 / rate, spread

    def call(self, now: float, running: int, dice: random.Random) -> Outcome:
        return _varied(self._seconds * (1 + (running / self._best) ** 2), self._spread, dice), True


@dataclass
class Load:
    """Calls that arrive at random, wait in one queue of bounded length, and are run by workers."""

    backend: Backend
    rate: float
    """How many calls arrive in one second; 0: none."""
    workers: list[AdaptiveLimit]
    queue_size: int = 200
    seed: int = 1
    now: float = 0.0
    ended: list[float] = field(default_factory=list)
    """When calls have ended with a result."""
    refused: int = 0
    begun: int = 0
    longest_wait: float = 0.0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self._order = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._waiting: deque[float] = deque()
        self._running = 0
        self._arrival = 0

    def run(self, seconds: float, each: Callable[[], None] = lambda: None) -> float:
        """Let time pass; return how many results came in one second. ``each`` is called after each event."""
        start, end = self.now, self.now + seconds
        self._arrival += 1
        self._arrive_later(self._arrival)
        while self._events and self._events[0][0] <= end:
            self.now, _, happen = heapq.heappop(self._events)
            happen()
            self._begin()
            each()
        self.now = end
        return (len(self.ended) - bisect_left(self.ended, start)) / seconds

    def burst(self, count: int) -> None:
        """Let calls arrive all at once."""
        self._waiting.extend([self.now] * count)
        self._begin()

    @property
    def limits(self) -> list[int]:
        """The limits of the workers."""
        return [worker.limit for worker in self.workers]

    @property
    def unfinished(self) -> int:
        """How many calls wait or run."""
        return len(self._waiting) + self._running

    def _later(self, seconds: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + seconds, next(self._order), happen))

    def _arrive_later(self, generation: int) -> None:
        def arrive() -> None:
            if generation != self._arrival:
                return  # the rate has changed since
            if len(self._waiting) < self.queue_size:
                self._waiting.append(self.now)
            else:
                self.refused += 1
            self._arrive_later(generation)

        if self.rate:
            self._later(self.dice.expovariate(self.rate), arrive)

    def _begin(self) -> None:
        free = [worker for worker in self.workers if worker.in_flight < worker.limit] if self._waiting else []
        while free and self._waiting:
            worker = free[self.dice.randrange(len(free))]
            self.longest_wait = max(self.longest_wait, self.now - self._waiting.popleft())
            self._start(worker)
            if worker.in_flight >= worker.limit:
                free.remove(worker)

    def _start(self, worker: AdaptiveLimit) -> None:
        self._running += 1
        self.begun += 1
        worker.started(self.now)
        began = self.now
        seconds, succeeds = self.backend.call(began, self._running, self.dice)

        def end() -> None:
            self._running -= 1
            worker.ended(self.now, began, succeeded=succeeds)
            if succeeds:
                self.ended.append(self.now)

        self._later(seconds, end)


def workers(count: int = 1, minimum: int = 1, maximum: int = 1000, seed: int = 1) -> list[AdaptiveLimit]:
    """Return workers that know nothing yet."""
    return [AdaptiveLimit(minimum, maximum, 0.0, random.Random(seed * 1000 + each)) for each in range(count)]
