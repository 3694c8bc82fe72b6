"""Makes many calls for ``rabibridge bench``, and measures how long each takes.

In a closed loop, each of so many callers calls again when it has its answer, so that a slow service is called less
often. In an open loop, calls come at a steady rate whatever happens to those before, as from independent users; each is
measured from the moment when it was due, so that calls that had to wait behind others count with that wait.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from time import perf_counter  # the clock of uvloop counts milliseconds
from typing import TYPE_CHECKING, Any

from rabibridge_core.errors import RabiBridgeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Latencies", "Load"]

_STEP = math.log(1.02)
_SHORTEST = 1e-6
_OUTSTANDING_MAX = 20_000


class Latencies:
    """A histogram of durations, exact to 2 %, of a size that does not depend on how many there are."""

    def __init__(self) -> None:
        """Begin empty."""
        self.count = 0
        self.total = 0.0
        self.longest = 0.0
        self.shortest = math.inf
        self._buckets: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one."""
        self.count += 1
        self.total += seconds
        self.longest = max(self.longest, seconds)
        self.shortest = min(self.shortest, seconds)
        self._buckets[int(math.log(max(seconds, _SHORTEST) / _SHORTEST) / _STEP)] += 1

    def percentile(self, percent: float) -> float:
        """Return the duration that so many percent do not exceed, in seconds; 0 if there is none."""
        wanted, seen = self.count * percent / 100, 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= wanted:
                return min(_SHORTEST * math.exp((bucket + 1) * _STEP), self.longest)
        return 0.0

    def ranges(self, most: int) -> list[tuple[float, float, int]]:
        """Return at most so many ranges, each some percent longer than the one before, with how many are in it."""
        if not self.count:
            return []
        first, last = min(self._buckets), max(self._buckets)
        width = -(-(last - first + 1) // most)
        return [
            (
                _SHORTEST * math.exp(start * _STEP),
                _SHORTEST * math.exp((start + width) * _STEP),
                sum(self._buckets[bucket] for bucket in range(start, start + width)),
            )
            for start in range(first, last + 1, width)
        ]


class Load:
    """Calls one function again and again, until a time or a number of calls is reached.

    Attributes:
        latencies: of the calls that succeeded, in seconds.
        errors: how many calls failed, by class.
        first_error: one of them.
        missed: calls of an open loop that were not made, because 20,000 others had no answer yet.
        elapsed: from the first call to the end of the last one, in seconds.
    """

    def __init__(self, call: Callable[[], Awaitable[Any]], *, duration: float, calls: int | None) -> None:
        """Prepare: nothing is called yet.

        Args:
            call: makes one call.
            duration: when no more calls are begun, in seconds.
            calls: after how many calls no more are begun; ``None``: any number.
        """
        self.latencies = Latencies()
        self.errors: Counter[str] = Counter()
        self.first_error: RabiBridgeError | None = None
        self.missed = 0
        self.elapsed = 0.0
        self._call = call
        self._duration = duration
        self._left = math.inf if calls is None else calls
        self._started = perf_counter()

    @property
    def answered(self) -> int:
        """How many calls have ended so far."""
        return self.latencies.count + self.errors.total()

    @property
    def seconds(self) -> float:
        """How long it has been running, in seconds."""
        return perf_counter() - self._started

    async def closed(self, callers: int) -> None:
        """Let so many callers call, each when it has its last answer."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(callers):
                    group.create_task(self._caller())
        finally:
            self.elapsed = self.seconds

    async def open(self, rate: float) -> None:
        """Begin so many calls per second, evenly, whether those before are answered or not."""
        begun = 0
        running: set[asyncio.Task[None]] = set()
        try:
            async with asyncio.TaskGroup() as group:
                while self._left > 0 and self.seconds < self._duration:
                    due = min(int(self.seconds * rate) + 1, int(self._duration * rate) or 1)
                    while begun < due and self._left > 0:
                        self._left -= 1
                        if len(running) < _OUTSTANDING_MAX:
                            task = group.create_task(self._one(self._started + begun / rate))
                            running.add(task)
                            task.add_done_callback(running.discard)
                        else:
                            self.missed += 1
                        begun += 1
                    await asyncio.sleep(max(0.0, begun / rate - self.seconds))
        finally:
            self.elapsed = self.seconds

    async def _caller(self) -> None:
        while self._left > 0 and self.seconds < self._duration:
            self._left -= 1
            await self._one(perf_counter())

    async def _one(self, due: float) -> None:
        try:
            await self._call()
        except RabiBridgeError as error:
            self.errors[type(error).__name__] += 1
            self.first_error = self.first_error or error
        else:
            self.latencies.add(perf_counter() - due)
