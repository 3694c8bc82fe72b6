"""The parameters of the run."""

from __future__ import annotations

import asyncio
from typing import Any

FETCH_SIZE = 10
"""Requests that the worker processes at a time."""
HANDLER_TIME = 0.02
"""How long the handler sleeps for one request, in seconds."""
CAPACITY = FETCH_SIZE / HANDLER_TIME
"""Calls per second that the service can handle: 500."""
QUEUE_SIZE = 40
"""Calls that may wait."""
TIMEOUT = 0.4
"""How long a caller waits for a result, in seconds."""
RAMP = 4.0
"""Seconds at the start that are not counted: the queue fills."""
MODEST, MODEST_LOAD, GREEDY_LOAD = 9, 0.08, 4.28
"""Number of modest callers, and offered loads as multiples of the capacity."""


async def work(x: Any) -> Any:
    """Sleep for the time of one request."""
    await asyncio.sleep(HANDLER_TIME)
    return x
