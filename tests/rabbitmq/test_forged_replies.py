"""Who may answer a call: whoever gets it from the broker, unless replies are signed. There is no list of servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiormq
import pytest
from pamqp import commands as spec

from rabibridge import SignatureError
from tests.rabbitmq.support import Gate
from tests.rabbitmq.test_signed_messages import keys
from tests.support.waiting import PATIENCE, soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.rabbitmq.support import Stage
    from tests.rabbitmq.users import Users


@pytest.fixture
async def requests(stage: Stage, users: Users, unique: str) -> AsyncIterator[tuple[Any, asyncio.Queue[Any]]]:
    """The channel of another user, who may serve something, and has bound a queue of its own to the same calls."""
    await stage.client()  # declares the exchange
    url = await users.add(r"^amq\.gen.*$", r"^(amq\.default|amq\.gen.*)$", r"^(rpc|amq\.gen.*)$")
    got: asyncio.Queue[Any] = asyncio.Queue()
    async with await aiormq.connect(url) as connection:
        channel = await connection.channel()
        queue = (await channel.queue_declare("", exclusive=True)).queue
        assert queue is not None
        await channel.queue_bind(queue, "rpc", f"async_{unique}")
        await channel.basic_consume(queue, got.put, no_ack=True)
        yield channel, got


@pytest.fixture
def unique(stage: Stage) -> str:
    return stage.register(Gate().function())


@pytest.mark.parametrize("signed", [True, False], ids=["signatures are required", "they are not"])
async def test_a_reply_of_another_user(
    stage: Stage, unique: str, requests: tuple[Any, asyncio.Queue[Any]], signed: bool
) -> None:
    channel, got = requests
    given: dict[str, Any] = keys(stage, require_signature=True) if signed else {}
    gate, server = Gate(), stage.new_server(**given)
    server.add_service(gate.function(), name=unique)
    await soon(server.connect())
    stage.start(server)
    client = await stage.client(**given)
    call = asyncio.create_task(client.remote_call(unique, ("genuine",), timeout=PATIENCE))
    request = (await soon(got.get())).header.properties
    forged = spec.Basic.Properties(correlation_id=request.correlation_id, content_type="application/msgpack")
    await channel.basic_publish(b"\x92\x00\xa6forged", routing_key=request.reply_to, properties=forged)
    if signed:
        await until(lambda: call.done() or bool(client.refused_messages))
        gate.opened.set()
        with pytest.raises(SignatureError):
            await soon(call)
        assert dict(client.refused_messages)
    else:
        assert await soon(call) == "forged"
        gate.opened.set()
