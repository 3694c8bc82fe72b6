"""A service on a quorum queue: a reply that the broker has not confirmed is not lost with the connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from tests.rabbitmq.support import Gate, until_waiting
from tests.support.proxy import Proxy
from tests.support.services import new_echo
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.rabbitmq.support import Stage


async def test_a_request_is_delivered_again_whose_reply_was_not_confirmed(stage: Stage) -> None:
    gate = Gate()
    name = stage.register(function := gate.function(), queue_type="quorum")
    async with Proxy(stage.url) as proxy:
        await stage.server(function, url=proxy.url)
        client = await stage.client()
        call = asyncio.create_task(client.remote_call(name, ("once",)))
        await gate.holds(1)
        proxy.freeze(up=False)  # no confirm arrives
        gate.opened.set()
        assert await soon(call) == "once"
        proxy.cut()
        proxy.thaw()
        assert await gate.holds(1) == ["once"]
        await until(lambda: client.stray_replies == 1)  # and the caller drops the other reply
        await stage.close()
    await until_waiting(stage.url, f"rpc_async_{name}", 0)


async def test_a_reply_to_an_at_most_once_call_leaves_again(stage: Stage) -> None:
    gate, echo = Gate(), new_echo()
    name = stage.register(function := gate.function(), queue_type="quorum", delivery="at-most-once")
    echoes = stage.register(echo)
    async with Proxy(stage.url) as proxy:
        await stage.server(function, echo, url=proxy.url)
        client = await stage.client()
        call = asyncio.create_task(client.remote_call(name, ("once",)))
        await gate.holds(1)
        assert await soon(client.remote_call(echoes, (1,))) == 1  # so the broker has the acknowledgement
        proxy.when_sent.append((b"once", proxy.cut))  # before the broker gets the reply
        gate.opened.set()
        assert await soon(call) == "once"
        assert gate.started.empty()  # it did not run again


@pytest.mark.parametrize("limits", [{}, {"fetch_size": 1}, {"delivery": "at-most-once"}], ids=str)
async def test_many_calls_end_once_each_and_leave_nothing(
    stage: Stage, limits: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def count(number: int) -> AsyncIterator[int]:
        for item in range(3):
            yield number + item

    echo = new_echo()
    called = stage.register(echo, queue_type="quorum", queue_size=10_000, **limits)
    streamed = stage.register(count, queue_type="quorum")
    server = await stage.server(echo, count)
    with_queue = await stage.client()
    monkeypatch.setenv("RABIBRIDGE_DIRECT_REPLY", "true")
    clients = with_queue, await stage.client()

    async def call(number: int) -> None:
        argument = "x" * 300_000 if number % 100 == 0 else number
        assert await clients[number % 2].remote_call(called, (argument,)) == argument

    async def stream(number: int) -> None:
        assert [item async for item in clients[0].stream(streamed, number)] == [number, number + 1, number + 2]

    await soon(call(1))  # direct replies have reached the node before
    await soon(asyncio.gather(*map(call, range(300)), *map(stream, range(20))))
    assert [(client.pending, client.stray_replies) for client in clients] == [(0, 0)] * 2
    await soon(server.close())  # and not before all is acknowledged
    for name in (called, streamed):
        await until_waiting(stage.url, f"rpc_async_{name}", 0)
