"""Decodes large bodies in a thread, so that the event loop serves other calls meanwhile.

One thread serves the whole process, and decodes one body after the other: the memory that decoding takes at a time does
not grow with the number of bodies that arrive.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from rabibridge_core._codec.receiving import LargeBodyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._codec.codec import Codec

__all__ = ["LargeBodyError", "off_loop"]

_T = TypeVar("_T")
_thread: ThreadPoolExecutor | None = None


async def off_loop(decode: Callable[..., _T], codec: Codec, *args: Any) -> _T:
    """Return ``decode(codec, *args, on_loop=False)``, run in the thread.

    Raises:
        Exception: as of ``decode``.
    """
    global _thread
    if _thread is None:
        _thread = ThreadPoolExecutor(1, thread_name_prefix="rabibridge-decoding")
    work = partial(decode, codec, *args, on_loop=False)
    try:
        decoded = asyncio.get_running_loop().run_in_executor(_thread, work)
    except RuntimeError:  # the interpreter exits, and gives nobody a thread
        return work()
    return await decoded


def _forget_thread() -> None:
    """Called in a child after a fork, where the thread does not exist."""
    global _thread
    _thread = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_thread)
