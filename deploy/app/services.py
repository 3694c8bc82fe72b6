"""What the example deployment serves: replace it by your own functions."""

from __future__ import annotations

import asyncio

from rabibridge import register_call


@register_call(queue_size=200, fetch_size=20, timeout=10)
async def add(a: int, b: int) -> int:
    """Add two numbers, as slowly as a database would."""
    await asyncio.sleep(0.05)
    return a + b
