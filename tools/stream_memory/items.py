"""What is streamed, and how it is read: the kinds of a run."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Iterator

__all__ = ["KINDS", "items", "read"]

KINDS = ("random", "steady", "mixed", "upload")
"""64 KiB items to a reader that sleeps at random; to one that is always a bit slower than the function; items of one
byte and of one MiB by turns; and 64 KiB items from the caller to a function that sleeps at random."""
_ITEM = 64 * 1024
_LARGE = 2**20
_SLEEPS = 0.002
"""The part of the items after which the reader sleeps."""
_STEADY = 0.002
"""How long a steady reader takes for an item, in seconds."""
_BLOCKS = 0.2
"""The part of the sleeps in which its event loop stands still, as in a program that computes."""


def items(kind: str, total: int) -> Iterator[bytes]:
    """Yield items of ``total`` bytes in all; each is made anew, so that all memory is counted."""
    sent = 0
    while sent < total:
        if kind == "mixed":
            for size in (1, _LARGE):
                yield bytes(size)
            sent += _LARGE + 1
        else:
            yield bytes(_ITEM)
            sent += _ITEM


async def read(kind: str, source: AsyncIterable[bytes]) -> int:
    """Read to the end, slowly; return how many bytes came."""
    received, chance = 0, random.Random(7)
    async for item in source:
        received += len(item)
        if kind == "steady":
            await asyncio.sleep(_STEADY)
        elif chance.random() < _SLEEPS * len(item) / _ITEM:
            seconds = chance.uniform(0.01, 0.2)
            if chance.random() < _BLOCKS:
                time.sleep(seconds)  # noqa: ASYNC251 - that is what some programs do
            else:
                await asyncio.sleep(seconds)
    return received
