"""A worker that stops while its network is slow: what it has answered still arrives, and nothing runs twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.rabbitmq.support import waiting_in
from tests.support.proxy import Proxy
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from tests.rabbitmq.support import Stage


@pytest.mark.parametrize("stopped", ["before the answer", "after the answer"])
async def test_the_reply_and_the_acknowledgement_arrive(stage: Stage, stopped: str) -> None:
    runs, began, release = [0], asyncio.Event(), asyncio.Event()

    async def answered_late() -> str:
        runs[0] += 1
        began.set()
        await release.wait()
        return "answered"

    name = stage.register(answered_late)
    async with Proxy(stage.url) as proxy:
        server: Any = await stage.server(answered_late, url=proxy.url)
        client = await stage.client()
        call = asyncio.create_task(client.remote_call(name, timeout=60))
        await soon(began.wait())
        proxy.freeze(down=False)  # what the worker sends is on its way for a while
        if stopped == "before the answer":
            server.stop()
        release.set()
        await until(lambda: not server._server.active_requests)
        closing = asyncio.create_task(server.close())
        await asyncio.wait((call, closing), timeout=2)
        assert not call.done()
        proxy.thaw()
        assert await soon(call) == "answered"
        await soon(closing)
    second: Any = await stage.server(answered_late)
    await until(lambda: bool(second.health()))
    assert await waiting_in(stage.url, f"rpc_async_{name}") == 0
    assert await soon(client.remote_call(name, timeout=60)) == "answered"  # behind whatever was redelivered
    assert runs == [2]
