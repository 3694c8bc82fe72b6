"""What RabbitMQ does with a second ``channel.close``, and that RabiBridge sends none."""

from __future__ import annotations

import asyncio

from rabibridge._amqp.control_methods import channel_close, method_frames
from rabibridge._connection.dialer import Dialer
from rabibridge._connection.session import Session
from rabibridge_core.settings import load_settings
from tests.support.waiting import soon

_CHANNEL_ERROR = 504
_TURNS = 300
"""More turns of the event loop than it takes to open a channel and to close it."""


async def _connect(url: str) -> Session:
    settings = load_settings(url=url)
    return await soon(Session.connect(settings.endpoints[0], settings, "closing", Dialer()))


async def _use(session: Session) -> None:
    async with session.temporary_channel():
        pass


async def test_a_second_close_costs_the_connection(vhost_url: str) -> None:
    session = await _connect(vhost_url)
    channel = await soon(session.open_channel())
    await soon(channel.close())
    session.multiplexer.write(method_frames(channel.number, (channel_close(),)))
    await soon(session.lost.wait())
    assert session.multiplexer.close_code == _CHANNEL_ERROR
    await soon(session.close())


async def test_who_closes_a_channel_may_be_cancelled_at_any_moment(vhost_url: str) -> None:
    session = await _connect(vhost_url)
    for turns in range(_TURNS):
        using = asyncio.create_task(_use(session))
        for _ in range(turns):
            await asyncio.sleep(0)
        if not using.cancel():
            break  # it had ended
        await soon(asyncio.wait((using,)))
    await soon(_use(session))
    assert session.error is None
    await soon(session.close())
