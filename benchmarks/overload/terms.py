"""The terms of the run: services of known capacity. Every process imports this, so it imports no library."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

from benchmarks.contenders.base import Service

IN_HAND = 8
"""Requests that the server works on at a time."""
FETCH_AHEAD = 2
"""Requests that a server of ours holds besides, so that one that ends is followed at once by the next."""
HANDLER_TIME = 0.016
"""What the handler takes for one of them, asleep, in seconds."""
CAPACITY = IN_HAND / HANDLER_TIME
"""Calls per second that the service can do: 500."""
TIMEOUT = 1.0
"""How long a caller waits for a result, in seconds."""
QUEUE_SIZE = 100
"""Most requests that wait in a queue that has a bound: a fifth of a second's work, well within the timeout."""
BOUND = (QUEUE_SIZE + FETCH_AHEAD + IN_HAND) / CAPACITY + HANDLER_TIME
"""What an accepted call takes at most by these sizes: all that is before it, then itself; in seconds."""
LOADS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Arrivals per second, in multiples of the capacity."""
RAMP = 2.0
"""What is left out at the start, in seconds: queues fill, processes warm up."""

RUNS: list[tuple[int, float, float]] = []
"""Each run of :func:`work` in this process: the number of the call, when it began and when it ended."""


async def work(x: Any) -> Any:
    """Take the time of one request, and note when: for the run in which one service meets all loads."""
    start = monotonic()
    try:
        await asyncio.sleep(HANDLER_TIME)
        return x
    finally:
        RUNS.append((x, start, monotonic()))


async def calm(x: Any) -> Any:
    """Take the time of one request: for the run in which :func:`work` is flooded and this one is not."""
    await asyncio.sleep(HANDLER_TIME)
    return x


SERVICES = {
    function.__name__: Service(
        function, queue_size=QUEUE_SIZE, in_hand=IN_HAND, fetch_ahead=FETCH_AHEAD, timeout=TIMEOUT
    )
    for function in (work, calm)
}
"""What is served and called, by name."""
