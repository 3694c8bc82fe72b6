"""One message, however it is made, costs at most its own call.

Nothing that is sent by a stranger, who may only write to the exchange, takes a worker's connection down, changes what
others get, or stays on the broker without a limit. Each test sends such messages and then sees that the worker serves
on the same connection, that what was refused is where the documentation says, and that it did not run.
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any, NamedTuple

import aiormq
import pytest

from rabibridge_core.transport import ConnectionState
from tests.rabbitmq.support import Gate, Stage, waiting_in
from tests.support.waiting import soon, until, until_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge import RMQServer

_PREFIX = "amq.rabbitmq.reply-to"
_CALL = b"\x92\x91\xa2hi\x80"  # [["hi"], {}]
_PID = b"\x83Xv\x00\x0ereply@77276868\x00\x00\x02\xb1\x00\x00\x00\x00k\n\xd2 "
_KEY = base64.b64encode(bytes(range(16))).decode()


def _direct(process: bytes, key: str = _KEY) -> str:
    return f"{_PREFIX}.{base64.b64encode(process).decode()}.{key}"


class _Victim(NamedTuple):
    """A service with its server, and a channel of a stranger."""

    stage: Stage
    name: str
    server: RMQServer
    stranger: aiormq.abc.AbstractChannel
    ran: list[Any]

    async def send(self, times: int = 1, **properties: Any) -> None:
        """Publish requests as the stranger."""
        for _ in range(times):
            sent = aiormq.spec.Basic.Properties(content_type="application/msgpack", **properties)
            await self.stranger.basic_publish(_CALL, exchange="rpc", routing_key=f"async_{self.name}", properties=sent)

    async def dead_letters(self) -> int:
        """Return the number of dead letters."""
        try:
            return await waiting_in(self.stage.url, "rpc.dead")
        except aiormq.exceptions.ChannelNotFoundEntity:
            return 0  # nobody has needed that queue yet

    async def take_dead(self, count: int) -> list[aiormq.abc.DeliveredMessage]:
        """Wait for so many dead letters and take them."""

        async def look() -> bool:
            return await self.dead_letters() == count

        await until_true(look)
        return [await self.stranger.basic_get("rpc.dead", no_ack=True) for _ in range(count)]

    async def serves(self) -> None:
        """See that an honest call is answered."""
        client = await self.stage.client()
        assert await soon(client.remote_call(self.name, ("honest",))) == "honest"
        assert self.server.state is ConnectionState.READY


@pytest.fixture
async def victim(stage: Stage, caplog: pytest.LogCaptureFixture) -> AsyncIterator[_Victim]:
    ran: list[Any] = []

    async def echo(value: Any = None) -> Any:
        ran.append(value)
        return value

    name = stage.register(echo, fetch_size=3)
    server = await stage.server(echo)
    async with await aiormq.connect(stage.url) as connection:
        yield _Victim(stage, name, server, await connection.channel(), ran)
    assert "reconnecting" not in caplog.text
    assert "reopening" not in caplog.text


@pytest.mark.parametrize(
    "reply_to",
    [
        pytest.param(f"{_PREFIX}.%%%.{_KEY}", id="no base64"),
        pytest.param(_direct(b"\x83h\x02"), id="no pid"),
        pytest.param(_direct(_PID[:-1]), id="truncated"),
        pytest.param(_direct(_PID + b"x"), id="longer"),
        pytest.param(_direct(_PID.replace(b"@", b"x")), id="no node"),
        pytest.param(_direct(_PID.replace(b"reply", b"\xff\xff\xff\xff\xff")), id="node that is no text"),
        pytest.param(_direct(b"\x83gw\x01a" + bytes(9)), id="another term"),
        pytest.param(_direct(_PID, key="x"), id="short key"),
        pytest.param(f"{_PREFIX}.garbage", id="no dots"),
        pytest.param(f"{_PREFIX}.", id="empty"),
        pytest.param("rpc.dead", id="dead letters"),
        pytest.param("rpc_async_other", id="queue of another service"),
        pytest.param("somebody", id="any queue"),
        pytest.param("amq.gen-", id="no name"),
    ],
)
async def test_an_address_that_is_no_reply_queue_is_set_aside_before_anything_runs(
    victim: _Victim, reply_to: str
) -> None:
    await victim.send(times=5, reply_to=reply_to, correlation_id="1")
    letters = await victim.take_dead(5)
    assert not victim.ran
    for letter in letters:
        headers = letter.header.properties.headers
        assert headers is not None
        assert "reply_to" in str(headers["rb-dead-reason"])
        assert letter.header.properties.reply_to == reply_to
    await victim.serves()


async def test_a_well_formed_address_of_a_node_that_does_not_exist_costs_no_connection(victim: _Victim) -> None:
    for number in range(20):
        await victim.send(reply_to=_direct(_PID.replace(b"77276868", b"%08d" % number)), correlation_id="1")
    await until(lambda: len(victim.ran) == 20)
    await victim.serves()
    assert victim.ran == ["hi"] * 20 + ["honest"]


async def test_a_stranger_cannot_say_how_often_a_request_was_delivered(victim: _Victim) -> None:
    for header in ("rb-deliveries", "x-delivery-count"):
        await victim.send(times=5, headers={header: 99})
    await until(lambda: len(victim.ran) == 10)
    await victim.serves()
    assert await victim.dead_letters() == 0


async def test_a_cancellation_under_another_address_ends_nothing(stage: Stage) -> None:
    gate = Gate()
    name = await stage.serve(gate.function())
    client = await stage.client()
    async with await aiormq.connect(stage.url) as connection:
        stranger = await connection.channel()
        own = (await stranger.queue_declare("", exclusive=True)).queue
        assert own is not None
        await stranger.queue_bind(own, "rpc", f"async_{name}")  # more than a stranger may do: it learns the ids
        calls = [asyncio.create_task(client.remote_call(name, (number,))) for number in range(3)]
        await gate.holds(3)
        for _ in calls:
            overheard = (await soon(stranger.basic_get(own, no_ack=True))).header.properties.correlation_id
            for reply_to in (own, f"{_PREFIX}.x", ""):
                sent = aiormq.spec.Basic.Properties(reply_to=reply_to, correlation_id=overheard)
                key = f"async_{name}"
                await stranger.basic_publish(key.encode(), exchange="rpc", routing_key=f"cancel:{key}", properties=sent)
        assert await soon(client.remote_call(await stage.serve(_nothing))) is None
    gate.opened.set()
    assert await soon(asyncio.gather(*calls)) == [0, 1, 2]
    assert gate.cancelled == 0


async def test_cancellations_are_bounded_in_bytes(victim: _Victim) -> None:
    key = f"cancel:async_{victim.name}"
    await victim.serves()  # it does, so its queue for cancellations is there
    for body in (bytes(2**21), bytes(2**20 + 1)):
        for _ in range(3):
            with pytest.raises(aiormq.exceptions.DeliveryError):
                await victim.stranger.basic_publish(body, exchange="rpc", routing_key=key)
    await victim.stranger.basic_publish(b"odd", exchange="rpc", routing_key=key)
    await victim.serves()


async def _nothing() -> None: ...
