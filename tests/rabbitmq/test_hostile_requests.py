"""What foreign publishers put into the queue of a service: the worker answers where it can, and goes on serving."""

from __future__ import annotations

import asyncio
import random
import struct
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import commands as spec

from rabibridge._amqp.field_tables import encode_table
from rabibridge._amqp.frames import short_string
from rabibridge_core.transport import ConnectionState
from tests.rabbitmq.support import Stage, waiting_in
from tests.support.raw_publisher import RawPublisher
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiormq

    from rabibridge import RMQServer

_MSGPACK = b"application/msgpack"
_CALL = b"\x92\x91\xa2hi\x80"  # [["hi"], {}]
_ZSTD_10_GIB = b"\x28\xb5\x2f\xfd\xe0" + (10 * 2**30).to_bytes(8, "little") + b"\x01\x00\x00"


class _Target:
    """A service, and somebody who writes into its queue."""

    def __init__(self, stage: Stage, name: str, server: RMQServer, publisher: RawPublisher) -> None:
        self.stage = stage
        self.name = name
        self.server = server
        self.publisher = publisher
        self.replies: asyncio.Queue[aiormq.abc.DeliveredMessage] = asyncio.Queue()

    async def reply_queue(self) -> str:
        channel = await self.publisher.connection.channel()
        queue = (await channel.queue_declare("", exclusive=True)).queue
        assert queue is not None
        await channel.basic_consume(queue, self.replies.put, no_ack=True)
        return queue

    async def serves_still(self) -> None:
        """See that an honest call is answered, on the same connection, and that nothing is left in the queue."""
        client = await self.stage.client()
        assert await soon(client.remote_call(self.name, ("honest",))) == "honest"
        assert self.server.state is ConnectionState.READY
        assert await waiting_in(self.stage.url, f"rpc_async_{self.name}") == 0


@pytest.fixture
async def target(stage: Stage, caplog: pytest.LogCaptureFixture) -> AsyncIterator[_Target]:
    async def echo(value: Any = None) -> Any:
        return value

    name = stage.register(echo, fetch_size=3)
    server = await stage.server(echo)
    async with await RawPublisher.connect(stage.url) as publisher:
        target = _Target(stage, name, server, publisher)
        yield target
        assert "reconnecting" not in caplog.text
        assert "reopening in" not in caplog.text


def _properties(
    content_type: bytes, content_encoding: bytes, table: bytes, correlation_id: bytes, reply_to: bytes
) -> tuple[int, bytes]:
    """Return flags and properties, of which the text may be any bytes."""
    fields = (
        (0x8000, content_type and short_string(content_type)),
        (0x4000, content_encoding and short_string(content_encoding)),
        (0x2000, table),
        (0x0400, correlation_id and short_string(correlation_id)),
        (0x0200, reply_to and short_string(reply_to)),
    )
    return sum(flag for flag, field in fields if field), b"".join(field for _, field in fields)


async def _publish(target: _Target, body: bytes, flags: int, properties: bytes) -> None:
    for _ in range(5):  # more than fetch_size: one that is never settled would hold up the service
        await target.publisher.publish("rpc", f"async_{target.name}", flags, properties, body)


@pytest.mark.parametrize(
    ("body", "content_type", "content_encoding"),
    [
        pytest.param(_CALL, _MSGPACK, b"", id="a call"),
        pytest.param(b"", _MSGPACK, b"", id="nothing"),
        pytest.param(b"\xc1", _MSGPACK, b"", id="garbage"),
        pytest.param(random.Random(4).randbytes(300_000), _MSGPACK, b"", id="much garbage"),
        pytest.param(b"\x2a", _MSGPACK, b"", id="another form"),
        pytest.param(b"\x92\x90\x81\x01\x02", _MSGPACK, b"", id="keywords that are no names"),
        pytest.param(b"\x92\xa3abc\x80", _MSGPACK, b"", id="text for arguments"),
        pytest.param(b"\xdd\xff\xff\xff\xff", _MSGPACK, b"", id="four billion elements announced"),
        pytest.param(b"\x91" * 50_000, _MSGPACK, b"", id="deep"),
        pytest.param(_CALL, b"text/html", b"", id="a content type that is not accepted"),
        pytest.param(_CALL, b"\xff\xfe", b"\xff", id="a content type that is no text"),
        pytest.param(b"\x80\x04N.", b"application/x-python-pickle", b"", id="a pickle"),
        pytest.param(_CALL, _MSGPACK, b"gzip", id="an encoding that is not accepted"),
        pytest.param(_ZSTD_10_GIB, _MSGPACK, b"", id="ten gigabytes of zstd announced"),
        pytest.param(b"\x28\xb5\x2f\xfd" + bytes(20), _MSGPACK, b"zstd", id="broken zstd"),
        pytest.param(b"x" * (9 * 2**20), _MSGPACK, b"", id="more than max_body"),
    ],
)
async def test_a_foreign_request_is_settled(
    target: _Target, body: bytes, content_type: bytes, content_encoding: bytes
) -> None:
    answered = (await target.reply_queue()).encode()
    for reply_to in (b"", b"nobody", b"\xff\xfe\x00", b"x" * 255, b"amq.rabbitmq.reply-to.forged", answered):
        flags, properties = _properties(content_type, content_encoding, b"", b"id", reply_to)
        await _publish(target, body, flags, properties)
    for _ in range(5):
        assert (await soon(target.replies.get())).header.properties.correlation_id == "id"
    await target.serves_still()


def _table(entries: bytes) -> bytes:
    return struct.pack(">I", len(entries)) + entries


def _entry(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + value


def _times(timeout: bytes, deadline: bytes = b"V") -> bytes:
    return _table(_entry(b"rb-timeout", timeout) + _entry(b"rb-deadline", deadline))


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(_table(b""), id="empty"),
        pytest.param(_table(_entry(b"\xff\xfe", b"S" + struct.pack(">I", 2) + b"\xff\xff")), id="no text"),
        pytest.param(_table(_entry(b"a", b"T" + b"\xff" * 8)), id="a time beyond time"),
        pytest.param(_table(_entry(b"a", b"D\xff\xff\xff\xff\xff")), id="a decimal"),
        pytest.param(_table(_entry(b"", b"V") * 2000), id="2,000 times the same name"),
        pytest.param(_table(_entry(b"a", b"V") * 40_000), id="120,000 bytes of headers"),
        pytest.param(_times(b"d" + struct.pack(">d", 1e300)), id="a timeout of 1e300"),
        pytest.param(_times(b"l" + struct.pack(">q", 2**63 - 1), b"l" + struct.pack(">q", 2**63 - 1)), id="2**63"),
        pytest.param(
            _times(b"l" + struct.pack(">q", -1), b"l" + struct.pack(">q", -(2**63))), id="times that are over"
        ),
        pytest.param(_times(b"t\x01", b"t\x01"), id="times that are truths"),
        pytest.param(_times(b"S\0\0\0\x0212", b"F\0\0\0\0"), id="times that are text and tables"),
    ],
)
async def test_odd_headers_do_not_matter(target: _Target, table: bytes) -> None:
    flags, properties = _properties(_MSGPACK, b"", table, b"id", (await target.reply_queue()).encode())
    await _publish(target, _CALL, flags, properties)
    await target.serves_still()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"t\x01", id="a truth"),
        pytest.param(b"S\0\0\0\x011", id="a text"),
        pytest.param(b"F\0\0\0\0", id="a table"),
    ],
)
async def test_times_that_are_no_numbers_do_not_limit_a_call(target: _Target, value: bytes) -> None:
    flags, properties = _properties(_MSGPACK, b"", _times(value, value), b"id", (await target.reply_queue()).encode())
    await _publish(target, _CALL, flags, properties)
    reply = await soon(target.replies.get())
    assert "rb-error" not in (reply.header.properties.headers or {})  # it ran
    await target.serves_still()


@pytest.mark.parametrize("low_bits", [1, 2, 3])
async def test_the_low_bits_of_the_flags_do_not_matter(target: _Target, low_bits: int) -> None:
    """RabbitMQ looks at 14 of the 16 and passes all of them on."""
    flags, properties = _properties(_MSGPACK, b"", b"", b"id", (await target.reply_queue()).encode())
    await _publish(target, _CALL, flags | low_bits, properties)
    await target.serves_still()


async def test_the_properties_that_nobody_here_uses(target: _Target) -> None:
    channel = await target.publisher.connection.channel()
    queue = await target.reply_queue()
    properties = spec.Basic.Properties(
        content_type="application/msgpack",
        headers={"CC": ["elsewhere"], "BCC": ["elsewhere"]},
        delivery_mode=2,
        priority=255,
        correlation_id="é" * 127,
        reply_to=queue,
        expiration="60000",
        message_id="m" * 255,
        message_type="t" * 255,
        app_id="a" * 255,
    )
    await channel.basic_publish(_CALL, exchange="rpc", routing_key=f"async_{target.name}", properties=properties)
    answer = await soon(target.replies.get())
    assert answer.body == b"\x92\x00\xa2hi"
    assert answer.header.properties.correlation_id == "é" * 127
    await target.serves_still()


async def test_a_flood_of_odd_requests_between_honest_ones(target: _Target) -> None:
    generator = random.Random(5)
    client = await target.stage.client()

    async def flood() -> None:
        for _ in range(300):
            flags, properties = _properties(_MSGPACK, b"", encode_table({"n": 1}), b"", b"nobody")
            body = generator.randbytes(generator.randrange(200))
            await target.publisher.publish("rpc", f"async_{target.name}", flags, properties, body)

    flooding = asyncio.create_task(flood())
    for number in range(100):
        assert await soon(client.remote_call(target.name, (number,))) == number
    await soon(flooding)
    await until(lambda: client.pending == 0)
    await target.serves_still()
