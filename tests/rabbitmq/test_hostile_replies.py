"""What a foreign publisher puts into the reply queue of a client: the call ends, the client goes on."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import aiormq
import pytest
from pamqp import commands as spec

from rabibridge import ConnectionLostError, RabiBridgeError, RMQClient
from rabibridge_core.transport import ConnectionState
from tests.support.services import new_echo
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.rabbitmq.support import Stage

_ZSTD_10_GIB = b"\x28\xb5\x2f\xfd\xe0" + (10 * 2**30).to_bytes(8, "little") + b"\x01\x00\x00"


class _Intruder:
    """Knows the name of a client's reply queue and the id of a call under way, and publishes there."""

    def __init__(self, channel: aiormq.abc.AbstractChannel, request: aiormq.abc.DeliveredMessage) -> None:
        self._channel = channel
        properties = request.header.properties
        assert properties.reply_to is not None
        assert properties.correlation_id is not None
        self.reply_to = properties.reply_to
        self.correlation_id = properties.correlation_id

    async def publish(self, body: bytes, **properties: Any) -> None:
        await self._channel.basic_publish(
            body, routing_key=self.reply_to, properties=spec.Basic.Properties(**properties), mandatory=True
        )


@pytest.fixture
async def intrusion(stage: Stage) -> AsyncIterator[tuple[RMQClient, asyncio.Task[Any], _Intruder]]:
    """A call under way that a raw consumer has received."""
    client = await stage.client()
    name = stage.register(new_echo())
    async with await aiormq.connect(stage.url) as connection:
        channel = await connection.channel()
        queue = (await channel.queue_declare("", exclusive=True)).queue
        assert queue is not None
        await channel.queue_bind(queue, "rpc", f"async_{name}")
        requests: asyncio.Queue[aiormq.abc.DeliveredMessage] = asyncio.Queue()
        await channel.basic_consume(queue, requests.put, no_ack=True)
        call = asyncio.create_task(client.remote_call(name, ("value",)))
        yield client, call, _Intruder(channel, await soon(requests.get()))


_MSGPACK = "application/msgpack"


async def test_strays_in_the_reply_queue_are_counted_and_the_real_reply_counts(
    intrusion: tuple[RMQClient, asyncio.Task[Any], _Intruder],
) -> None:
    client, call, intruder = intrusion
    strays: list[dict[str, Any]] = [
        {},
        {"correlation_id": ""},
        {"correlation_id": "unknown"},
        {"correlation_id": "é" * 100},
        {"correlation_id": "0", "headers": {"a": {"b": [1, 2, {"c": None}]}}, "content_type": "text/html"},
        {"correlation_id": intruder.correlation_id + "0", "content_type": _MSGPACK},
        {"content_type": "x" * 255, "content_encoding": "y" * 255, "message_id": "z" * 255, "priority": 9},
        {"expiration": "60000", "delivery_mode": 2, "app_id": "a", "message_type": "t"},
    ]
    for properties in strays:
        await intruder.publish(b"\x92\x00\xc0", **properties)
    await intruder.publish(b"\x92\x00\xa4real", correlation_id=intruder.correlation_id, content_type=_MSGPACK)
    assert await soon(call) == "real"
    assert client.stray_replies == len(strays)
    await intruder.publish(b"\x92\x00\xa4real", correlation_id=intruder.correlation_id, content_type=_MSGPACK)
    await until(lambda: client.stray_replies == len(strays) + 1)
    assert client.state is ConnectionState.READY
    assert client.pending == 0


@pytest.mark.parametrize(
    ("body", "properties"),
    [
        pytest.param(b"", {"content_type": _MSGPACK}, id="nothing"),
        pytest.param(b"\xc1\xc1\xc1", {"content_type": _MSGPACK}, id="garbage"),
        pytest.param(random.Random(2).randbytes(5000), {"content_type": _MSGPACK}, id="much garbage"),
        pytest.param(b"\x2a", {"content_type": _MSGPACK}, id="another form"),
        pytest.param(b"\x93\x00\x01\x02", {"content_type": _MSGPACK}, id="three instead of two"),
        pytest.param(b"\x92\x07\x01", {"content_type": _MSGPACK}, id="an unknown code"),
        pytest.param(b"\x92\x01\xc0", {"content_type": _MSGPACK}, id="an error without text"),
        pytest.param(b"\xdd\xff\xff\xff\xff", {"content_type": _MSGPACK}, id="four billion elements announced"),
        pytest.param(b"\x92\x00\xc0", {"content_type": "text/html"}, id="a content type that is not accepted"),
        pytest.param(b"\x80\x04N.", {"content_type": "application/x-python-pickle"}, id="a pickle"),
        pytest.param(b"\x92\x00\xc0", {"content_encoding": "gzip", "content_type": _MSGPACK}, id="an encoding"),
        pytest.param(_ZSTD_10_GIB, {"content_type": _MSGPACK}, id="ten gigabytes of zstd announced"),
        pytest.param(_ZSTD_10_GIB, {"content_type": _MSGPACK, "content_encoding": "zstd"}, id="so it says itself"),
        pytest.param(b"\x28\xb5\x2f\xfd" + b"\x00" * 50, {"content_type": _MSGPACK}, id="broken zstd"),
        pytest.param(b"x" * (9 * 2**20), {"content_type": _MSGPACK}, id="more than max_body"),
        pytest.param(b"[" * 100_000, {"content_type": "application/json"}, id="deep json"),
        pytest.param(b"\x91" * 100_000, {"content_type": _MSGPACK}, id="deep msgpack"),
        pytest.param(b"\xff\xfe", {"content_type": "application/json"}, id="json that is no text"),
    ],
)
async def test_a_forged_reply_ends_its_call_with_an_error_and_nothing_else(
    stage: Stage,
    intrusion: tuple[RMQClient, asyncio.Task[Any], _Intruder],
    body: bytes,
    properties: dict[str, Any],
) -> None:
    client, call, intruder = intrusion
    await intruder.publish(body, correlation_id=intruder.correlation_id, **properties)
    with pytest.raises(RabiBridgeError) as failure:
        await soon(call)
    assert not isinstance(failure.value, ConnectionLostError)
    name = await stage.serve(new_echo())
    assert await soon(client.remote_call(name, (1,))) == 1
    assert client.pending == 0
    assert client.stray_replies == 0


@pytest.mark.parametrize("value", [{"t": 2**40}, {"rb-error": 5, "rb-error-type": None, "rb-error-message": [1]}])
async def test_odd_headers_of_a_reply_do_not_matter(
    intrusion: tuple[RMQClient, asyncio.Task[Any], _Intruder], value: dict[str, Any]
) -> None:
    client, call, intruder = intrusion
    await intruder.publish(
        b"\x92\x00\xa2ok", correlation_id=intruder.correlation_id, content_type=_MSGPACK, headers=value
    )
    assert await soon(call) == "ok"
    assert client.state is ConnectionState.READY


async def test_a_large_header_table_does_not_stop_the_loop(
    intrusion: tuple[RMQClient, asyncio.Task[Any], _Intruder],
) -> None:
    _, call, intruder = intrusion
    headers = {f"h{number}": None for number in range(15_000)}
    await intruder.publish(
        b"\x92\x00\xa2ok", correlation_id=intruder.correlation_id, content_type=_MSGPACK, headers=headers
    )
    assert await soon(call) == "ok"
