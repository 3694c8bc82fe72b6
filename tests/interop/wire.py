"""A look at the wire, and a plain caller, by pika: a third-party AMQP client that shares no code with ours."""

from __future__ import annotations

import json
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack  # type: ignore[import-untyped]  # it ships no types
import pika  # type: ignore[import-untyped]  # it ships no types
import zstandard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
DIRECT = "amq.rabbitmq.reply-to"


def pack(value: Any) -> bytes:
    packed: Any = msgpack.packb(value)
    return bytes(packed)


def unpack(body: bytes) -> Any:
    return msgpack.unpackb(body)


class Message(NamedTuple):
    """What arrived."""

    properties: Any
    body: bytes

    @property
    def headers(self) -> dict[str, Any]:
        return self.properties.headers or {}

    def value(self) -> Any:
        body = zstandard.decompress(self.body) if self.body[:4] == ZSTD_MAGIC else self.body
        return json.loads(body) if self.properties.content_type == "application/json" else unpack(body)


@contextmanager
def channel_to(url: str) -> Iterator[Any]:
    with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
        yield connection.channel()


@contextmanager
def overheard(url: str, routing_key: str) -> Iterator[Callable[[], Message]]:
    """Get a copy of every request that is sent to a key."""
    with channel_to(url) as channel:
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, "rpc", routing_key)

        def get() -> Message:
            return next_of(channel, queue)

        yield get


def next_of(channel: Any, queue: str, timeout: float = 30.0) -> Message:
    for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=timeout):
        if method is None:
            raise TimeoutError(f"nothing arrived within {timeout:g} s")
        return Message(properties, body)
    raise AssertionError("the consumer was cancelled")


class PlainCaller:
    """Publishes to services and takes replies, from direct reply-to or from a queue of its own."""

    def __init__(self, channel: Any, *, direct: bool = True) -> None:
        channel.confirm_delivery()
        self.reply_to = DIRECT if direct else channel.queue_declare("", exclusive=True).method.queue
        self._channel = channel
        self._replies: dict[str | None, Message] = {}
        channel.basic_consume(self.reply_to, self._take, auto_ack=True)

    def _take(self, _channel: Any, _method: Any, properties: Any, body: bytes) -> None:
        self._replies[properties.correlation_id] = Message(properties, body)

    def send(self, key: str, body: bytes, **properties: Any) -> None:
        self._channel.basic_publish("rpc", key, body, pika.BasicProperties(**properties), mandatory=True)

    def send_json(self, key: str, value: Any, **properties: Any) -> None:
        properties.setdefault("reply_to", self.reply_to)
        self.send(key, json.dumps(value).encode(), content_type="application/json", **properties)

    def reply(self, correlation_id: str | None, timeout: float = 30.0) -> Message:
        end = time.monotonic() + timeout
        while correlation_id not in self._replies:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"no reply to {correlation_id} within {timeout:g} s")
            self._channel.connection.process_data_events(left)
        return self._replies.pop(correlation_id)

    def has_reply(self, correlation_id: str) -> bool:
        self._channel.connection.process_data_events(0)
        return correlation_id in self._replies
