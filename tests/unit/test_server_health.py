"""A server says when its replies wait for the broker, and is healthy all the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge import RMQClient, RMQServer, register_call
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker


async def test_an_alarm_is_a_reason_and_no_failure(fake_broker: FakeBroker) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    @register_call
    async def held() -> str:
        begun.set()
        await may_end.wait()
        return "ended"

    async with RMQServer() as server, RMQClient() as client:
        server.add_service(held)
        serving = asyncio.create_task(server.run_serve(signals=False))
        await until(lambda: bool(server.health()))
        call = asyncio.create_task(client.remote_call("held"))
        await soon(begun.wait())
        fake_broker.block("low on disk")
        assert server.health().reasons == ()  # it has sent nothing, and was told nothing
        may_end.set()
        await until(lambda: bool(server.health().reasons))
        assert server.health()
        assert server.health().reasons == ("the broker accepts no messages now: low on disk",)
        assert not call.done()
        fake_broker.unblock()
        assert await soon(call) == "ended"
        assert server.health().reasons == ()
        server.stop()
        await soon(serving)
