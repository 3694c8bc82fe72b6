"""An open load: each call is made when it is due, whether or not earlier calls have ended."""

from __future__ import annotations

import asyncio
import contextlib
import random
from array import array
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Any

from benchmarks.contenders.base import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

_TICK = 0.001
"""Shortest interval between checks for due calls, in seconds: uvloop's timers are no finer, and would spin. It is
included in the latencies."""
NOT_ISSUED, UNFINISHED, RESULT, REFUSED, TIMED_OUT, ERROR = b"nugrte"
"""Possible outcomes of a call. Not issued: the event loop was too busy to make the call before the load ended."""


def arrivals(rate: float, seconds: float, seed: str) -> list[float]:
    """Return the arrival times of a Poisson process with ``rate`` arrivals per second, in seconds from its start."""
    draw = random.Random(seed).expovariate
    moments: list[float] = []
    moment = draw(rate)
    while moment < seconds:
        moments.append(moment)
        moment += draw(rate)
    return moments


class Flood:
    """Makes calls at given moments. Times are in seconds from the start, or 0 for events that did not happen."""

    def __init__(
        self, call: Callable[[int], Coroutine[Any, Any, Any]], moments: list[float], limit: float | None = None
    ) -> None:
        """Call with the numbers from 0 at ``moments``, each under a timeout of ``limit`` seconds if given."""
        self._call = call
        self._moments = moments
        self._limit = limit
        self._tasks: set[asyncio.Task[None]] = set()
        self.start = 0.0
        """Start time by :func:`time.monotonic`, a clock that all processes of a machine share."""
        self.outcomes = bytearray([NOT_ISSUED]) * len(moments)
        self.issued = array("d", bytes(8 * len(moments)))
        self.ended = array("d", bytes(8 * len(moments)))
        self.errors: Counter[str] = Counter()

    async def run(self, seconds: float, patience: float) -> None:
        """Make the calls that are due in ``seconds``; wait at most twice ``patience`` seconds for the last ones."""
        self.start = start = monotonic()
        due, number = [*self._moments, seconds], 0
        while (now := monotonic() - start) < seconds:
            while due[number] <= now:
                self._begin(number, now)
                number += 1
            await asyncio.sleep(max(due[number] - now, _TICK))
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2 * patience)

    def _begin(self, number: int, now: float) -> None:
        self.issued[number] = now
        self.outcomes[number] = UNFINISHED
        task = asyncio.create_task(self._one(number))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _one(self, number: int) -> None:
        try:
            async with asyncio.timeout(self._limit) if self._limit else contextlib.nullcontext():
                if await self._call(number) != number:
                    raise AssertionError(f"wrong result for {number}")
            outcome = RESULT
        except RefusedError:
            outcome = REFUSED
        except TimeoutError:
            outcome = TIMED_OUT
        except Exception as error:  # noqa: BLE001 - every exception of a contender is counted as an outcome
            outcome = ERROR
            self.errors[f"{type(error).__module__}.{type(error).__qualname__}"] += 1
        self.ended[number] = monotonic() - self.start
        self.outcomes[number] = outcome
