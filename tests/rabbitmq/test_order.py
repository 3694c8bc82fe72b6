"""The reply leaves a worker before its acknowledgement: whoever sees a call gone from the queue can have its reply."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pamqp import commands, frame

from tests.support.proxy import Proxy
from tests.support.waiting import soon

if TYPE_CHECKING:
    from tests.rabbitmq.support import Stage


def _methods(sent: bytes) -> list[tuple[int, Any]]:
    """Return the methods in what a client sent, with their channels."""
    data, methods = sent[8:], []  # behind the protocol header
    while data:
        length, channel, value = frame.unmarshal(data)
        data = data[length:]
        methods.append((channel, value))
    return methods


async def test_replies_are_sent_before_acknowledgements(stage: Stage) -> None:
    async def work(fails: bool) -> bytes:
        if fails:
            raise ValueError("no")
        return bytes(200_000)  # more than one frame

    name = stage.register(work, fetch_size=3)
    async with Proxy(stage.url, recording=True) as proxy:
        await stage.server(work, url=proxy.url)
        client = await stage.client()
        await soon(asyncio.gather(*(client.try_remote_call(name, (number % 3 == 0,)) for number in range(30))))
        await stage.close()
        sent = proxy.link.sent
    methods = list(_methods(bytes(sent)))
    (acknowledging,) = {channel for channel, value in methods if isinstance(value, commands.Basic.Ack)}
    replies, acknowledged = 0, set[int]()
    for channel, value in methods:
        if isinstance(value, commands.Basic.Publish) and channel == acknowledging:
            replies += 1
        elif isinstance(value, commands.Basic.Ack):
            acknowledged |= set(range(1, value.delivery_tag + 1)) if value.multiple else {value.delivery_tag}
            assert len(acknowledged) <= replies
    assert acknowledged == set(range(1, 31))
    assert replies == 30
