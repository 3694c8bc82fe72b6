"""What RabbitMQ does with a second ``channel.close``, that RabiBridge sends none, and no operation is broken off."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge._amqp.control_methods import channel_close, method_frames
from rabibridge._transport.transport import RabbitMQTransport
from rabibridge_core._protocol.naming import queue_name
from rabibridge_core.transport import ServiceQueue
from tests.rabbitmq.support import until_call_gives
from tests.support.sessions import connected
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge._connection.session import Session
    from tests.rabbitmq.support import Stage

_CHANNEL_ERROR = 504
_TURNS = 300
"""More turns of the event loop than it takes to open a channel and to close it."""


async def _use(session: Session) -> None:
    async with session.temporary_channel():
        pass


async def test_a_second_close_costs_the_connection(vhost_url: str) -> None:
    session = await connected(vhost_url)
    channel = await soon(session.open_channel())
    await soon(channel.close())
    session.multiplexer.write(method_frames(channel.number, (channel_close(),)))
    await soon(session.lost.wait())
    assert session.multiplexer.close_code == _CHANNEL_ERROR
    await soon(session.close())


async def _cancel_at_any_moment(use: Callable[[], Awaitable[Any]]) -> None:
    """Cancel it after one turn of the event loop, after two and so on, until it ends before."""
    for turns in range(_TURNS):
        using = asyncio.ensure_future(use())
        for _ in range(turns):
            await asyncio.sleep(0)
        if not using.cancel():
            break
        await soon(asyncio.wait((using,)))


async def test_who_closes_a_channel_may_be_cancelled_at_any_moment(vhost_url: str) -> None:
    session = await connected(vhost_url)
    await _cancel_at_any_moment(lambda: _use(session))
    await soon(_use(session))
    assert session.error is None
    await soon(session.close())


@pytest.mark.parametrize("side", ["worker", "client"])
async def test_who_looks_at_a_queue_may_be_cancelled_at_any_moment(
    stage: Stage, side: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> str:
        return "done"

    name = stage.register(work)
    server, client = await stage.server(work), await stage.client()
    queue = ServiceQueue(queue_name(name, is_async=True), (f"async_{name}",), queue_size=None, fetch_size=1)
    transport, caller = server._transport, client._client.calls.caller
    assert isinstance(transport, RabbitMQTransport)
    assert caller is not None

    async def look() -> int | None:
        if side == "worker":
            return await transport.count_consumers(queue)
        state = await caller.look(queue.name)
        return None if state is None else state[0]

    await until_call_gives(client, name, "done")
    assert await soon(look()) == 1
    await _cancel_at_any_moment(look)
    assert await soon(look()) == 1
    assert await soon(client.remote_call(name)) == "done"
    assert [record for record in caplog.records if record.name.startswith("aiormq")] == []
