"""Finds out whether the clock of an event loop stands still, as libraries that freeze time let it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rabibridge_core._clock import is_virtual

if TYPE_CHECKING:
    import asyncio

__all__ = ["stands_still"]

_LONG_ENOUGH = 0.001
"""A clock that has not moved for so many seconds stands still; that of an event loop is more precise."""
_real = (time.monotonic,)  # in a tuple, where libraries that freeze time do not find it


def stands_still(loop: asyncio.AbstractEventLoop) -> bool:
    """Tell whether the clock of an event loop stands still; at once, unless something has replaced clocks."""
    (monotonic,) = _real
    if time.monotonic is monotonic or is_virtual(loop):
        return False
    at, began = loop.time(), monotonic()
    while loop.time() == at:
        if monotonic() - began > _LONG_ENOUGH:
            return True
    return False
