"""The parameters of the run: services of known capacity. Every process imports it, so it imports no library."""

from __future__ import annotations

import asyncio
from random import Random
from time import monotonic
from typing import Any

from benchmarks.contenders.base import Service

FETCH_SIZE = 8
"""Requests that the server processes at a time."""
FETCH_AHEAD = 2
"""Requests that a RabiBridge server prefetches in addition, so that the next one starts as soon as one ends."""
HANDLER_TIME = 0.016
"""How long the handler sleeps for one request, in seconds."""
CAPACITY = FETCH_SIZE / HANDLER_TIME
"""Calls per second that the service can handle: 500."""
TIMEOUT = 1.0
"""How long a caller waits for a result, in seconds."""
QUEUE_SIZE = 100
"""Maximum length of a bounded queue: a fifth of a second's work, well within the timeout."""
BOUND = (QUEUE_SIZE + FETCH_AHEAD + FETCH_SIZE) / CAPACITY + HANDLER_TIME
"""Longest time of an accepted call with these sizes, in seconds: all requests ahead of it, then its own."""
LOADS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
"""Arrivals per second, as multiples of the capacity."""
RAMP = 2.0
"""Seconds at the start that are not counted: queues fill, processes warm up."""

SHORTEST, LONGEST = 0.05, 0.5
"""Where callers have different deadlines: the shortest and the longest timeout, in seconds."""

MAX_WAIT = 0.2
"""Where the queue is bounded in seconds: how long a call may have waited when it starts."""
PHASE, FACTORS = 20 / 3, (1.0, 3.0, 0.5)
"""Where the capacity changes: after how many seconds, and how much longer a request takes in each of these times."""

RUNS: list[tuple[int, float, float]] = []
"""Each run of :func:`work` in this process: the number of the call, its start and its end."""


async def work(x: Any) -> Any:
    """Sleep for the time of one request and record the run. It is the service that all loads use."""
    start = monotonic()
    try:
        await asyncio.sleep(HANDLER_TIME)
        return x
    finally:
        RUNS.append((x, start, monotonic()))


async def calm(x: Any) -> Any:
    """Sleep for the time of one request. It is the calm service while :func:`work` is flooded."""
    await asyncio.sleep(HANDLER_TIME)
    return x


async def shared(x: Any) -> Any:
    """Sleep for the time of one request. It is the service that callers of two classes share."""
    await asyncio.sleep(HANDLER_TIME)
    return x


async def mixed(x: Any) -> Any:
    """Do what :func:`work` does, for callers with different timeouts."""
    return await work(x)


async def changing(x: Any) -> Any:
    """Take longer or shorter than :func:`work`, by the time since the first run, and record the run."""
    start = monotonic()
    since = start - (RUNS[0][1] if RUNS else start)
    try:
        await asyncio.sleep(HANDLER_TIME * FACTORS[min(int(since / PHASE), len(FACTORS) - 1)])
        return x
    finally:
        RUNS.append((x, start, monotonic()))


def timeout_of(x: int) -> float:
    """Return the timeout of a call by its number: as many short ones as long ones, on a logarithmic scale."""
    return float(SHORTEST * (LONGEST / SHORTEST) ** Random(x).random())


SERVICES = {
    function.__name__: Service(
        function, queue_size=QUEUE_SIZE, fetch_size=FETCH_SIZE, fetch_ahead=FETCH_AHEAD, timeout=TIMEOUT
    )
    for function in (work, calm)
}
SERVICES |= {
    criticality: Service(
        shared, fetch_size=FETCH_SIZE, fetch_ahead=FETCH_AHEAD, timeout=TIMEOUT,
        classes={"interactive": QUEUE_SIZE, "batch": QUEUE_SIZE}, criticality=criticality,
    )
    for criticality in ("interactive", "batch")
}  # fmt: skip
SERVICES |= {
    name: Service(
        mixed, queue_size=QUEUE_SIZE, fetch_size=FETCH_SIZE, fetch_ahead=FETCH_AHEAD, timeouts=timeout_of,
        deadline_admission=admission,
    )
    for name, admission in (("admission", True), ("no admission", False))
}  # fmt: skip
SERVICES |= {
    "queue_size": Service(changing, queue_size=QUEUE_SIZE, fetch_size=FETCH_SIZE, fetch_ahead=FETCH_AHEAD),
    "max_wait": Service(changing, queue_size=1_000, fetch_size=FETCH_SIZE, fetch_ahead=FETCH_SIZE, max_wait=MAX_WAIT),
}
"""The services by name; by the name of the class, the one that has classes."""
