"""The wait for the active requests of a service that stops."""

from __future__ import annotations

import asyncio

import pytest

from rabibridge_core._server.drain import Drain

PATIENCE = 90.0


async def _waiting(drain: Drain) -> asyncio.Task[None]:
    task = asyncio.create_task(drain.wait(PATIENCE))
    await asyncio.sleep(0)  # it begins to wait
    return task


async def test_it_ends_with_the_last_request() -> None:
    drain = Drain()
    waiting = await _waiting(drain)
    drain.check([object()])
    await asyncio.sleep(0)
    assert not waiting.done()
    drain.check([])
    await waiting


@pytest.mark.parametrize("first", [True, False])
async def test_it_can_be_cut_short(first: bool) -> None:
    drain = Drain()
    if first:
        drain.abort()
    waiting = await _waiting(drain)
    if not first:
        drain.abort()
    async with asyncio.timeout(PATIENCE / 2):
        await waiting
    assert drain.aborted


async def test_a_second_stop_after_the_wait_raises_nothing() -> None:
    drain = Drain()
    waiting = await _waiting(drain)
    drain.check([])
    await waiting
    drain.abort()
    assert drain.aborted
