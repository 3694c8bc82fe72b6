"""What the tests of broadcasts share: functions to broadcast, and who has answered."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from rabibridge_core.errors import CallTimeoutError, ConnectionLostError
from rabibridge_testing.conformance.waiting import PATIENCE

if TYPE_CHECKING:
    from rabibridge_core._api.client import RpcClient
    from rabibridge_core._client.broadcast import Broadcast

__all__ = ["all_answers", "answered_in_time", "echo", "end_of", "nothing", "until_answers"]


async def echo(number: int) -> int:
    """Return what it was given."""
    return number


async def nothing() -> None:
    """Return at once."""


def end_of(broadcast: Broadcast[Any]) -> tuple[tuple[str, ...], int | None, bool]:
    """Return who is missing, how many have said nothing, and whether all have answered."""
    return broadcast.missing, broadcast.silent, broadcast.complete


async def until_answers(client: RpcClient, name: str, expected: dict[str, Any]) -> None:
    """Broadcast until all have answered: it may take a moment until a loss is noticed and repaired."""
    brief = client.options(timeout=3.0)
    async with asyncio.timeout(2 * PATIENCE):
        while True:
            with suppress(ConnectionLostError, CallTimeoutError):
                if await all_answers(brief.broadcast(name, 1)) == expected:
                    return
            await asyncio.sleep(0.01)


async def answered_in_time(broadcast: Broadcast[Any]) -> set[str]:
    """Return who has answered within the timeout: nobody, if the broker did not even confirm it."""
    try:
        return set(await all_answers(broadcast))
    except CallTimeoutError:
        return set()


async def all_answers(broadcast: Broadcast[Any]) -> dict[str, Any]:
    """Return the results by worker, each of which must answer once."""
    results: dict[str, Any] = {}
    async with asyncio.timeout(PATIENCE):
        async for reply in broadcast:
            assert reply.worker not in results
            results[reply.worker] = reply.result
    return results
