"""The backends, and how they change."""

from __future__ import annotations

from typing import Protocol

__all__ = ["BACKENDS", "LATENCY", "LOAD", "PHASES", "QUEUE_SIZE", "TIMEOUT", "Backend", "best"]

PHASES = (500, 150, 800)
"""The capacities, in calls a second, one after the other."""
LATENCY = 0.04
"""How long a call takes that waits for nothing, in seconds."""
LOAD = 1.6
"""How many times the capacity is offered."""
QUEUE_SIZE = 100
TIMEOUT = 2.0


class Backend(Protocol):
    """What the handlers call."""

    def takes(self, now: float, running: int) -> float:
        """Return how long a call takes that begins now, in seconds, with so many running together with it."""
        ...


class Quota:
    """Lets so many calls a second through, one after the other; more at a time only wait longer."""

    def __init__(self, rate: float) -> None:
        self._rate, self._free = rate, 0.0

    def takes(self, now: float, running: int) -> float:
        self._free = max(self._free, now) + 1 / self._rate
        return self._free - now + LATENCY


class Thrashing:
    """Its latency grows with the square of the calls at a time, so that too many at a time get less done."""

    def __init__(self, rate: float) -> None:
        self._best = rate * LATENCY
        self._seconds = LATENCY / 2

    def takes(self, now: float, running: int) -> float:
        return self._seconds * (1 + (running / self._best) ** 2)


BACKENDS: dict[str, type[Quota] | type[Thrashing]] = {"a quota": Quota, "thrashing": Thrashing}


def best(backend: str, rate: float) -> int:
    """Return the fixed ``fetch_size`` with which a backend gives most."""
    return round(rate * LATENCY) + (2 if BACKENDS[backend] is Quota else 0)
