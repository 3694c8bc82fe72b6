"""AMQP methods that open channels, declare, bind and consume: a worker with many services sends thousands of them.

Each is returned as a payload without its frame, because it may be sent again on another channel.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import pamqp.encode

from rabibridge._amqp.frames import FRAME_HEAD, METHOD, short_string
from rabibridge._amqp.methods import CANCEL, CHANNEL_CLOSE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "BIND_OK",
    "CANCEL_OK",
    "CHANNEL_CLOSE_OK",
    "CHANNEL_OPEN",
    "CHANNEL_OPEN_OK",
    "CONFIRM_SELECT",
    "CONFIRM_SELECT_OK",
    "CONSUME_OK",
    "DELETE_OK",
    "QOS_OK",
    "bind_exchange",
    "bind_queue",
    "cancel",
    "cancel_ok",
    "channel_close",
    "consume",
    "declare_queue",
    "delete_unused",
    "method_frames",
    "qos",
]

# What is sent whole, and the identifiers of answers.
CHANNEL_OPEN: Final = b"\x00\x14\x00\x0a\x00"
CHANNEL_OPEN_OK: Final = b"\x00\x14\x00\x0b"
CHANNEL_CLOSE_OK: Final = b"\x00\x14\x00\x29"
BIND_OK: Final = b"\x00\x32\x00\x15"
DELETE_OK: Final = b"\x00\x32\x00\x29"
QOS_OK: Final = b"\x00\x3c\x00\x0b"
CONSUME_OK: Final = b"\x00\x3c\x00\x15"
CANCEL_OK: Final = b"\x00\x3c\x00\x1f"
CONFIRM_SELECT: Final = b"\x00\x55\x00\x0a\x00"
CONFIRM_SELECT_OK: Final = b"\x00\x55\x00\x0b"

_BIND_EXCHANGE = b"\x00\x28\x00\x1e\x00\x00"
_DECLARE_QUEUE = b"\x00\x32\x00\x0a\x00\x00"
_BIND_QUEUE = b"\x00\x32\x00\x14\x00\x00"
_DELETE_QUEUE = b"\x00\x32\x00\x28\x00\x00"
_QOS = b"\x00\x3c\x00\x0a"
_CONSUME = b"\x00\x3c\x00\x14\x00\x00"
_EMPTY_TABLE = b"\0\0\0\0"
_DURABLE, _DECLARE_NOWAIT = 2, 16
_IF_UNUSED, _IF_EMPTY = 1, 2
_REPLY_SUCCESS = 200
_CLOSE_ARGUMENTS = struct.Struct(">HBHH")
_QOS_ARGUMENTS = struct.Struct(">IHB")


def method_frames(channel: int, methods: Iterable[bytes]) -> bytes:
    """Return the frames that send these methods on a channel, in one piece."""
    return b"".join([FRAME_HEAD.pack(METHOD, channel, len(method)) + method + b"\xce" for method in methods])


def channel_close() -> bytes:
    """Return ``channel.close`` for a channel that is not needed any longer."""
    return CHANNEL_CLOSE + _CLOSE_ARGUMENTS.pack(_REPLY_SUCCESS, 0, 0, 0)


def declare_queue(name: str, arguments: Mapping[str, Any]) -> bytes:
    """Return ``queue.declare`` for a durable queue; the broker does not answer unless it refuses."""
    bits = bytes((_DURABLE | _DECLARE_NOWAIT,))
    return _DECLARE_QUEUE + short_string(name.encode()) + bits + pamqp.encode.field_table(dict(arguments))


def bind_queue(queue: str, exchange: str, key: str, *, nowait: bool) -> bytes:
    """Return ``queue.bind``; with ``nowait``, the broker does not answer unless it refuses."""
    return _BIND_QUEUE + _binding(queue, exchange, key, nowait=nowait)


def bind_exchange(destination: str, source: str, key: str) -> bytes:
    """Return ``exchange.bind``; the broker does not answer unless it refuses."""
    return _BIND_EXCHANGE + _binding(destination, source, key, nowait=True)


def _binding(destination: str, source: str, key: str, *, nowait: bool) -> bytes:
    names = [short_string(name.encode()) for name in (destination, source, key)]
    return b"".join(names) + (b"\x01" if nowait else b"\x00") + _EMPTY_TABLE


def delete_unused(queue: str) -> bytes:
    """Return ``queue.delete`` on condition that the queue has neither consumers nor messages."""
    return _DELETE_QUEUE + short_string(queue.encode()) + bytes((_IF_UNUSED | _IF_EMPTY,))


def qos(prefetch_count: int) -> bytes:
    """Return ``basic.qos`` for the next consumers of the channel; 0 is no limit."""
    return _QOS + _QOS_ARGUMENTS.pack(0, prefetch_count, 0)


def consume(queue: str, consumer_tag: bytes) -> bytes:
    """Return ``basic.consume``, with acknowledgements."""
    return _CONSUME + short_string(queue.encode()) + short_string(consumer_tag) + b"\0" + _EMPTY_TABLE


def cancel(consumer_tag: bytes) -> bytes:
    """Return ``basic.cancel``."""
    return CANCEL + short_string(consumer_tag) + b"\0"


def cancel_ok(consumer_tag: bytes) -> bytes:
    """Return ``basic.cancel-ok``, the answer to a broker that has cancelled a consumer and waits for it."""
    return CANCEL_OK + short_string(consumer_tag)
