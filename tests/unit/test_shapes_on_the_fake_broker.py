"""Notifications and broadcasts in tests of programs, with the fixture fake_broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge import RMQClient
from tests.support.waiting import soon

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker


async def test_both(fake_broker: FakeBroker) -> None:
    ran = asyncio.Queue[int]()

    async def work(number: int) -> int:
        ran.put_nowait(number)
        return 2 * number

    fake_broker.add_service(work)
    async with RMQClient() as client:
        await soon(client.notify(work, 1))
        assert await soon(ran.get()) == 1
        async with asyncio.timeout(30):
            replies = [(reply.worker, reply.result) async for reply in client.broadcast(work, 2)]
    assert replies == [("fake_broker", 4)]
    (call,) = fake_broker.calls
    assert (call.args, call.outcome) == ((1,), "pending")
