"""A broker that is low on memory blocks whoever publishes: everything waits, nothing breaks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import CallTimeoutError
from rabibridge_core.transport import ConnectionState
from tests.rabbitmq.support import Gate, Stage
from tests.support.proxy import Proxy
from tests.support.services import new_echo
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rabibridge import RMQServer
    from tools.broker import Broker


@pytest.fixture
async def alarmed(own_node: Broker) -> AsyncIterator[Callable[[bool], Any]]:
    async def alarm(on: bool) -> None:
        await asyncio.to_thread(own_node.ctl, "set_vm_memory_high_watermark", "0.0000001" if on else "0.4")

    yield alarm
    await alarm(False)


async def test_during_a_memory_alarm_calls_wait_or_time_out_and_then_flow(
    own_node: Broker, alarmed: Callable[[bool], Any]
) -> None:
    stage = Stage(own_node.fresh_vhost())
    try:
        async with Proxy(stage.url) as proxy:
            function = new_echo()
            name = stage.register(function)
            await stage.server(function)
            client = await stage.client(url=proxy.url)
            assert await soon(client.remote_call(name, (0,))) == 0
            await alarmed(True)
            first = asyncio.create_task(client.remote_call(name, (1,)))  # it makes the broker block the connection
            await asyncio.sleep(0.5)
            for _ in range(3):
                with pytest.raises(CallTimeoutError) as failure:
                    await client.remote_call(name, (2,), timeout=0.2)
                assert failure.value.executed is False
            waiting = [asyncio.create_task(client.remote_call(name, (n,))) for n in range(50)]
            await asyncio.sleep(0.2)
            assert not first.done()
            assert not any(call.done() for call in waiting)
            assert client.state is ConnectionState.READY
            await alarmed(False)
            assert await soon(first) == 1
            assert await soon(asyncio.gather(*waiting)) == list(range(50))
            assert len(proxy.links) == 1
    finally:
        await stage.close()


async def test_a_server_that_is_blocked_by_an_alarm_can_be_closed(
    own_node: Broker, alarmed: Callable[[bool], Any]
) -> None:
    stage = Stage(own_node.fresh_vhost())
    try:
        gate = Gate()
        function = gate.function()
        name = stage.register(function)
        server: RMQServer = await stage.server(function)
        client = await stage.client()
        call = asyncio.create_task(client.remote_call(name, ("held",)))
        await gate.holds(1)
        await alarmed(True)
        gate.opened.set()  # the reply makes the broker block the server's connection
        await asyncio.sleep(0.5)
        await soon(server.close())
        call.cancel()
    finally:
        await alarmed(False)
        await stage.close()
