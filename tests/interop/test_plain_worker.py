"""A client of ours calls a worker that is a plain AMQP client, good or bad, made after docs/protocol.md."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pika  # type: ignore[import-untyped]  # it ships no types
import pytest
import zstandard

from rabibridge import (
    ContentRejectedError,
    InvalidArgumentsError,
    RemoteExecutionError,
    RMQClient,
    SerializationError,
    ServiceError,
)
from tests.interop.wire import ZSTD_MAGIC, channel_to, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator

RESULT = pack([0, "result"])
TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1\nworker.Bad: it is: bad\n'
BOMB = ZSTD_MAGIC + b"\xe0" + (10 * 2**30).to_bytes(8, "little") + b"\x03\x00\x00x"
MEBIBYTE = random.Random(4).randbytes(2**19).hex()


class SoldOut(ServiceError, code="interop.sold_out"):
    sku: str
    left: int


READABLE: dict[str, tuple[bytes, dict[str, Any], Any]] = {
    "plain": (RESULT, {}, "result"),
    "with its type": (RESULT, {"content_type": "application/msgpack"}, "result"),
    "json": (b'[0,"result"]', {"content_type": "application/json; charset=utf-8"}, "result"),
    "compressed": (zstandard.compress(pack([0, MEBIBYTE])), {}, MEBIBYTE),
    "compressed, and it says so": (zstandard.compress(RESULT), {"content_encoding": "zstd"}, "result"),
}
BAD: dict[str, tuple[bytes, dict[str, Any], type[Exception]]] = {
    "empty": (b"", {}, SerializationError),
    "random bytes": (random.Random(5).randbytes(500), {}, SerializationError),
    "pickle": (b"\x80\x05K\x01.", {"content_type": "application/x-python-pickle"}, ContentRejectedError),
    "foreign content type": (RESULT, {"content_type": "text/plain"}, ContentRejectedError),
    "a bomb": (BOMB, {}, ContentRejectedError),
    "truncated zstd": (zstandard.compress(RESULT)[:-3], {}, SerializationError),
    "no pair": (pack("result"), {}, RemoteExecutionError),
    "unknown code": (pack([7, "result"]), {}, RemoteExecutionError),
    "larger than the client takes": (b"x" * (8 * 2**20 + 1), {}, ContentRejectedError),
    "without a traceback": (pack([1, None]), {}, RemoteExecutionError),
}

FAILED: dict[str, tuple[bytes, dict[str, Any], type[Exception]]] = {
    "fails": (pack([1, TRACEBACK]), {}, RemoteExecutionError),
    "refuses": (
        pack([1, "text"]),
        {"headers": {"rb-error": "arguments", "rb-error-type": "worker.Wrong", "rb-error-message": "no"}},
        InvalidArgumentsError,
    ),
}
_CODE = {"rb-error": "execution", "rb-error-type": "shop.SoldOut", "rb-error-code": "interop.sold_out"}
DECLARED: dict[str, tuple[bytes, dict[str, Any], type[Exception]]] = {
    name: (pack([1, "text"]), {"headers": {**_CODE, "rb-error-fields": fields}}, RemoteExecutionError)
    for name, fields in {"in json": '{"sku":"A","left":2}', "in msgpack": pack({"sku": "A", "left": 2})}.items()
}
REPLIES = READABLE | BAD | FAILED | DECLARED


@contextmanager
def plain_worker(url: str, name: str) -> Iterator[None]:
    """Answer every request with the reply of REPLIES that it names, from a thread."""
    ready, done = threading.Event(), threading.Event()

    def answer(channel: Any, method: Any, request: Any, body: bytes) -> None:
        ((wanted,), _) = unpack(body)
        if wanted == "stray":
            channel.basic_publish("", request.reply_to, RESULT, pika.BasicProperties(correlation_id="unknown"))
            channel.basic_publish("", request.reply_to, RESULT)
            wanted = "plain"
        reply, properties, _ = REPLIES[wanted]
        channel.basic_publish(
            "", request.reply_to, reply, pika.BasicProperties(correlation_id=request.correlation_id, **properties)
        )
        channel.basic_ack(method.delivery_tag)

    def work() -> None:
        with channel_to(url) as channel:
            channel.exchange_declare("rpc", "direct", durable=True)
            queue = f"rpc_async_{name}"
            channel.queue_declare(queue, durable=True, arguments={"x-overflow": "reject-publish"})
            channel.queue_bind(queue, "rpc", f"async_{name}")
            channel.exchange_declare("rpc_any_sync", "direct", durable=True)
            channel.exchange_declare(
                "rpc_any", "direct", durable=True, arguments={"alternate-exchange": "rpc_any_sync"}
            )
            channel.exchange_bind("rpc_any", "rpc", f"any:{name}")
            channel.queue_bind(queue, "rpc_any", f"any:{name}")
            channel.basic_qos(prefetch_count=10)
            channel.basic_consume(queue, answer)
            ready.set()
            while not done.is_set():
                channel.connection.process_data_events(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ready.wait(30)
        yield
    finally:
        done.set()
        thread.join()


async def test_what_it_replies_is_the_result(client: RMQClient, url: str, service_name: str) -> None:
    with plain_worker(url, service_name):
        for name, (_, _, expected) in READABLE.items():
            assert await client.remote_call(service_name, (name,), timeout=30) == expected, name
        assert await client.remote_call(service_name, ("plain",), ftype="any", timeout=30) == "result"


async def test_its_errors_need_no_headers(client: RMQClient, url: str, service_name: str) -> None:
    with plain_worker(url, service_name):
        with pytest.raises(RemoteExecutionError) as caught:
            await client.remote_call(service_name, ("fails",), timeout=30)
        assert caught.value.remote_traceback == TRACEBACK
        assert (caught.value.error_type, caught.value.error_message) == ("worker.Bad", "it is: bad")

        with pytest.raises(InvalidArgumentsError) as refused:
            await client.remote_call(service_name, ("refuses",), timeout=30)
        assert (refused.value.error_type, refused.value.error_message) == ("worker.Wrong", "no")
        assert refused.value.executed is False


async def test_it_raises_errors_that_we_declare(client: RMQClient, url: str, service_name: str) -> None:
    with plain_worker(url, service_name):
        for name in DECLARED:
            with pytest.raises(SoldOut) as failure:
                await client.remote_call(service_name, (name,), timeout=30)
            assert failure.value == SoldOut("A", left=2)
            assert (failure.value.error_type, failure.value.remote_traceback) == ("shop.SoldOut", "text")


async def test_a_bad_reply_is_an_error_of_its_call_alone(client: RMQClient, url: str, service_name: str) -> None:
    with plain_worker(url, service_name):
        for name, (_, _, expected) in BAD.items():
            with pytest.raises(expected):
                await client.remote_call(service_name, (name,), timeout=30)
        mixed = [client.remote_call(service_name, (name,), timeout=30) for name in (*BAD, "stray", "plain")]
        results = await asyncio.gather(*mixed, return_exceptions=True)
        assert [type(result) for result in results[:-2]] == [expected for _, _, expected in BAD.values()]
        assert results[-2:] == ["result", "result"]
        assert client.stray_replies == 2
        assert client.pending == 0
