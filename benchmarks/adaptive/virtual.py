"""The same in virtual time: the rule alone, with a queue and the backend, on a machine that is never busy."""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque

from benchmarks.adaptive.phases import BACKENDS, LOAD, PHASES, QUEUE_SIZE, TIMEOUT, best
from benchmarks.overload.flood import arrivals
from rabibridge_core._server.adaptive_limit import AdaptiveLimit

__all__ = ["simulated"]

_ARRIVES, _ENDS, _CHANGES, _LOOKS = range(4)
_INTERVAL = 0.25


def simulated(name: str, seconds: float, limit: str) -> tuple[list[float], list[tuple[float, int]]]:
    """Return when calls have ended in time, and the limits that held, in seconds from the start."""
    fixed = None if limit == "auto" else best(name, PHASES[0]) if limit == "best" else int(limit)
    rule = AdaptiveLimit(fixed or 1, fixed or 256, 0.0, random.Random(1))
    order = itertools.count()
    events: list[tuple[float, int, int, float, float]] = []

    def at(moment: float, what: int, due: float = 0.0, began: float = 0.0) -> None:
        heapq.heappush(events, (moment, next(order), what, due, began))

    for phase, rate in enumerate(PHASES):
        at(seconds * phase, _CHANGES)
        for moment in arrivals(LOAD * rate, seconds, f"phase {phase}"):
            at(seconds * phase + moment, _ARRIVES)
    for step in range(int(seconds * len(PHASES) / _INTERVAL)):
        at((step + 1) * _INTERVAL, _LOOKS)
    changes, backend = iter(PHASES), BACKENDS[name](PHASES[0])
    waiting: deque[float] = deque()
    ended: list[float] = []
    limits: list[tuple[float, int]] = []
    while events:
        now, _, what, due, began = heapq.heappop(events)
        if what == _ARRIVES:
            if len(waiting) < QUEUE_SIZE:
                waiting.append(now)
        elif what == _ENDS:
            rule.ended(now, began, succeeded=now - due <= TIMEOUT)
            if now - due <= TIMEOUT:
                ended.append(now)
        elif what == _LOOKS:
            limits.append((now, rule.limit))
        else:
            rate = next(changes)
            backend = BACKENDS[name](rate)
            if limit == "best":
                running, rule = rule.in_flight, AdaptiveLimit(best(name, rate), best(name, rate), now)
                rule.in_flight = running
        while waiting and rule.in_flight < rule.limit:
            due = waiting.popleft()
            if now - due < TIMEOUT:
                rule.started(now)
                at(now + backend.takes(now, rule.in_flight), _ENDS, due, now)
    return ended, limits
