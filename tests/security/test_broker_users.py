"""What the user of a caller can do on the broker beside calling: nothing to what belongs to others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiormq
import pytest

from rabibridge._operations.permission_sets import names_in, permission_set
from tests.support.services import new_echo
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.rabbitmq.support import Stage
    from tests.rabbitmq.users import Users


@pytest.mark.parametrize("queue_states", [False, True])
async def test_a_caller_cannot_touch_queues_of_others(stage: Stage, users: Users, queue_states: bool) -> None:
    name = await stage.serve(new_echo())
    other = await stage.client()
    assert await soon(other.remote_call(name, ("mine",))) == "mine"
    queue, replies = f"rpc_async_{name}", "amq.gen-somebody-else"
    url = await users.add(*permission_set("caller", names_in(""), queue_states=queue_states).permissions)
    client = await stage.client(url=url)
    assert await soon(client.remote_call(name, ("hello",))) == "hello"

    async def take(message: Any) -> None:
        pytest.fail(f"took {message}")

    attempts: list[Callable[[Any], Awaitable[Any]]] = [
        lambda channel: channel.basic_get(queue),
        lambda channel: channel.basic_consume(queue, take),
        lambda channel: channel.queue_purge(queue),
        lambda channel: channel.queue_delete(queue),
        lambda channel: channel.queue_bind("amq.gen-mine", "rpc", f"async_{name}"),
        lambda channel: channel.queue_bind(queue, "rpc", "async_of_others"),
        lambda channel: channel.queue_bind(queue, "amq.topic", "#"),
        lambda channel: channel.queue_unbind(queue, "rpc", f"async_{name}"),
        lambda channel: channel.queue_declare(queue, durable=True),
        lambda channel: channel.exchange_delete("rpc"),
        lambda channel: channel.basic_publish(b"x", routing_key=queue),
        lambda channel: channel.basic_publish(b"x", routing_key=replies),
        lambda channel: channel.basic_get("rpc.dead"),
    ]
    async with await aiormq.connect(url) as connection:
        for attempt in attempts:
            channel = await connection.channel()
            with pytest.raises((aiormq.exceptions.ChannelAccessRefused, aiormq.exceptions.ChannelNotFoundEntity)):
                await soon(attempt(channel))
    assert await soon(other.remote_call(name, ("still there",))) == "still there"
