"""Broadcasts with timeouts that do not depend on how fast the machine is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge import CallTimeoutError
from tests.support.waiting import longer, soon

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._client.broadcast import Broadcast

__all__ = ["all_results", "in_time"]


async def all_results(broadcast: Broadcast[Any]) -> dict[str, Any]:
    """Return the results by worker."""
    return {reply.worker: reply.result async for reply in broadcast}


async def in_time(
    least: float, begin: Callable[[float], Broadcast[Any]], *, answers: int = 1
) -> tuple[Broadcast[Any], dict[str, Any]]:
    """Begin broadcasts, with a timeout of ``least`` seconds or longer, until one is long enough.

    That is one in which so many workers have answered, and those that have said nothing were counted.
    """
    timeouts = longer(least)
    while True:
        timeout = next(timeouts)
        broadcast = begin(timeout)
        try:
            results = await soon(all_results(broadcast))
        except CallTimeoutError:  # not even the broker has confirmed it
            continue
        if len(results) >= answers and broadcast.silent is not None:
            break
    return broadcast, results
