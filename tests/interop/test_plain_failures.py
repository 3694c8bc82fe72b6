"""What a plain AMQP client sees in each failure, in the formats and encodings that common libraries send."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import aio_pika
import pika  # type: ignore[import-untyped]  # it ships no types
import pytest

from rabibridge import ServiceError
from tests.interop.wire import ZSTD_MAGIC, PlainCaller, channel_to, next_of, pack, unpack
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge import RMQServer

    Serve = Callable[..., Awaitable[RMQServer]]

_CALL = pack([["hi"], {}])


async def _echo(value: Any = None) -> Any:
    if value == "fail":
        raise LookupError("no such thing")
    return object() if value == "unsendable" else value


@pytest.mark.parametrize("content_type", ["application/x-msgpack", "application/vnd.msgpack", "Application/MsgPack"])
@pytest.mark.parametrize("content_encoding", ["binary", "UTF8", "utf-8", "8bit"])
async def test_what_common_libraries_call_msgpack_is_read_as_msgpack(
    serve: Serve, url: str, service_name: str, content_type: str, content_encoding: str
) -> None:
    await serve(_echo)

    def call() -> None:
        with channel_to(url) as channel:
            caller = PlainCaller(channel)
            caller.send(
                f"async_{service_name}", _CALL,
                content_type=content_type, content_encoding=content_encoding, correlation_id="1",
                reply_to=caller.reply_to,
            )  # fmt: skip
            reply = caller.reply("1")
            assert reply.value() == [0, "hi"]
            assert reply.properties.content_type == "application/msgpack"

    await asyncio.to_thread(call)


class SoldOut(ServiceError, code="interop.no_more"):
    sku: str
    left: int


@pytest.mark.parametrize("content_type", ["application/json", "application/msgpack"])
async def test_a_declared_error_is_a_failure_with_two_more_headers(
    serve: Serve, url: str, service_name: str, content_type: str
) -> None:
    async def declares() -> None:
        raise SoldOut("A-17", left=2)

    await serve(declares)

    def call() -> None:
        with channel_to(url) as channel:
            caller = PlainCaller(channel)
            body = b"[[],{}]" if content_type == "application/json" else pack([[], {}])
            caller.send(
                f"async_{service_name}", body, content_type=content_type, correlation_id="1", reply_to=caller.reply_to
            )
            reply = caller.reply("1")
            assert reply.value()[0] == 1
            assert "SoldOut: interop.no_more" in reply.value()[1]
            assert reply.headers["rb-error"] == "execution"
            assert reply.headers["rb-error-type"].endswith("test_plain_failures.SoldOut")
            assert reply.headers["rb-error-code"] == "interop.no_more"
            fields = reply.headers["rb-error-fields"]
            assert isinstance(fields, str) is (content_type == "application/json")
            read = json.loads(fields) if isinstance(fields, str) else unpack(bytes(fields))
            assert read == {"sku": "A-17", "left": 2}

    await asyncio.to_thread(call)


@pytest.mark.parametrize("accepted", ["identity", "identity, gzip;q=0.5", "", "*", "gzip, ZSTD"])
async def test_a_caller_that_cannot_read_zstd_says_so(serve: Serve, url: str, service_name: str, accepted: str) -> None:
    await serve(_echo)
    reads_zstd = "zstd" in accepted.lower() or accepted == "*"

    def call() -> None:
        with channel_to(url) as channel:
            caller = PlainCaller(channel)
            headers = {"rb-accept-encoding": accepted}
            caller.send_json(f"async_{service_name}", [["x" * 50_000], {}], correlation_id="1", headers=headers)
            caller.send_json(f"async_{service_name}", [["short"], {}], correlation_id="2", headers=headers)
            reply = caller.reply("1")
            assert (reply.body[:4] == ZSTD_MAGIC) is reads_zstd
            assert reply.properties.content_encoding == ("zstd" if reads_zstd else "identity")
            assert reply.value() == [0, "x" * 50_000]
            assert caller.reply("2").properties.content_encoding is None

    await asyncio.to_thread(call)


@pytest.mark.parametrize(
    ("body", "properties", "kind", "error_type"),
    [
        pytest.param([["fail"], {}], {}, "execution", "builtins.LookupError", id="the function raises"),
        pytest.param([[1, 2], {}], {}, "arguments", "builtins.TypeError", id="other arguments"),
        pytest.param([["unsendable"], {}], {}, "result", None, id="a result that has no encoding"),
        pytest.param({"args": []}, {}, "request", None, id="another form"),
        pytest.param(b"\xff", {}, "request", None, id="garbage"),
        pytest.param([[], {}], {"content_type": "text/xml"}, "request", None, id="another content type"),
        pytest.param([[], {}], {"content_encoding": "gzip"}, "request", None, id="another encoding"),
    ],
)
@pytest.mark.parametrize("direct", [True, False])
async def test_a_failure_is_a_reply_with_its_kind(
    serve: Serve, url: str, service_name: str, body: Any, properties: dict[str, Any], kind: str,
    error_type: str | None, direct: bool,
) -> None:  # fmt: skip
    await serve(_echo)

    def call() -> None:
        with channel_to(url) as channel:
            caller = PlainCaller(channel, direct=direct)
            sent = {"content_type": "application/json", "correlation_id": "1", "reply_to": caller.reply_to}
            caller.send(
                f"async_{service_name}",
                body if isinstance(body, bytes) else json.dumps(body).encode(),
                **sent | properties,
            )
            reply = caller.reply("1")
            code, text = reply.value()
            assert (code, reply.headers["rb-error"]) == (1, kind)
            assert reply.headers["rb-error-type"] == error_type or error_type is None
            assert reply.headers["rb-error-type"].rpartition(".")[2] in text

    await asyncio.to_thread(call)


async def test_a_reply_queue_that_is_not_allowed_is_a_dead_letter_until_the_operator_allows_it(
    serve: Serve, url: str, service_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(channel: Any) -> str:
        mine: str = channel.queue_declare(f"replies.{service_name}", exclusive=True).method.queue
        sent = pika.BasicProperties(content_type="application/json", reply_to=mine, correlation_id="1")
        channel.basic_publish("rpc", f"async_{service_name}", b'[["hi"], {}]', sent)
        return mine

    def refused() -> None:
        with channel_to(url) as channel:
            send(channel)
            while not (letter := channel.basic_get("rpc.dead", auto_ack=True))[0]:
                channel.connection.sleep(0.05)
            assert "reply_queues" in letter[1].headers["rb-dead-reason"]

    def allowed() -> None:
        with channel_to(url) as channel:
            assert json.loads(next_of(channel, send(channel)).body) == [0, "hi"]

    with channel_to(url) as channel:
        channel.queue_declare(
            "rpc.dead",
            durable=True,
            arguments={
                "x-max-length-bytes": 268435456, "x-overflow": "drop-head", "x-message-ttl": 604800000,
                "x-queue-type": "classic",
            },
        )  # fmt: skip
        channel.queue_purge("rpc.dead")
    server = await serve(_echo)
    await asyncio.to_thread(refused)
    await server.close()
    monkeypatch.setenv("RABIBRIDGE_REPLY_QUEUES", "other, replies.*")
    await serve(_echo)
    await asyncio.to_thread(allowed)


async def test_a_robust_connection_of_aio_pika_is_answered(serve: Serve, url: str, service_name: str) -> None:
    await serve(_echo)
    async with await aio_pika.connect_robust(url) as connection:
        channel = await connection.channel()
        exchange = await channel.get_exchange("rpc")
        queue = await channel.declare_queue(exclusive=True)
        replies: asyncio.Queue[Any] = asyncio.Queue()
        await queue.consume(replies.put, no_ack=True)
        message = aio_pika.Message(_CALL, content_type="application/msgpack", reply_to=queue.name, correlation_id="1")
        await exchange.publish(message, f"async_{service_name}")
        assert (await soon(replies.get())).body == pack([0, "hi"])
