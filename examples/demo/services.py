"""Three services: functions that other processes can call."""

from __future__ import annotations

import asyncio

from rabibridge import register_call


@register_call
async def fibonacci(n: int) -> int:
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


@register_call
def divide(dividend: float, divisor: float) -> float:
    """A plain function is a service of kind "sync"; it runs in a thread."""
    return dividend / divisor


@register_call(queue_size=1, fetch_size=1)
async def slow(seconds: float) -> str:
    """Runs one call at a time and queues one more; a third call is refused immediately."""
    await asyncio.sleep(seconds)
    return "done"
