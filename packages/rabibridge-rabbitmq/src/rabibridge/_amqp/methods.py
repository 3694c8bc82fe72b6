"""AMQP methods of the call path: their identifiers, the frames that are sent, and the arguments that are received.

The layout is that of the AMQP 0-9-1 specification plus RabbitMQ's ``basic.nack``.
"""

from __future__ import annotations

import re
import struct
from typing import Final

from rabibridge._amqp.frames import END, FRAME_HEAD, METHOD, FrameError, short_string

__all__ = [
    "ACCESS_REFUSED",
    "ACK",
    "CANCEL",
    "CHANNEL_CLOSE",
    "CONNECTION_BLOCKED",
    "CONNECTION_CLOSE",
    "CONNECTION_UNBLOCKED",
    "DELIVER",
    "NACK",
    "NOT_ALLOWED",
    "NOT_IMPLEMENTED",
    "NO_ROUTE",
    "PRECONDITION_FAILED",
    "RETURN",
    "ack",
    "parse_deliver",
    "parse_max_message",
    "parse_reason",
    "parse_returned_key",
    "publish_method",
    "reject",
]

# Class and method identifiers, as they appear at the start of a method payload.
DELIVER: Final = b"\x00\x3c\x00\x3c"
RETURN: Final = b"\x00\x3c\x00\x32"
ACK: Final = b"\x00\x3c\x00\x50"
NACK: Final = b"\x00\x3c\x00\x78"
CANCEL: Final = b"\x00\x3c\x00\x1e"
CHANNEL_CLOSE: Final = b"\x00\x14\x00\x28"
CONNECTION_CLOSE: Final = b"\x00\x0a\x00\x32"
CONNECTION_BLOCKED: Final = b"\x00\x0a\x00\x3c"
CONNECTION_UNBLOCKED: Final = b"\x00\x0a\x00\x3d"
_PUBLISH = b"\x00\x3c\x00\x28\x00\x00"
_REJECT = b"\x00\x3c\x00\x5a"

# Reply codes.
NO_ROUTE: Final = 312
"""A mandatory message was returned: no queue is bound for its routing key."""
ACCESS_REFUSED: Final = 403
"""The user lacks a permission or, during log-in, the credentials are wrong."""
PRECONDITION_FAILED: Final = 406
"""Among others, a message is larger than the broker accepts, or names another user."""
NOT_ALLOWED: Final = 530
"""The user may not use the virtual host, or it does not exist."""
NOT_IMPLEMENTED: Final = 540
"""The operation is not supported, for example by a queue of this type."""

_TOO_LARGE = re.compile(r"larger than (?:the )?(?:configured )?max(?:imum)? size:? (\d+)")

_SETTLE = struct.Struct(">BHI4sQBB")
_UNSIGNED_64 = struct.Struct(">Q")


def publish_method(channel: int, exchange: bytes, routing_key: bytes, *, mandatory: bool) -> bytes:
    """Return the complete ``basic.publish`` frame, which message content must follow.

    Raises:
        FrameError: the exchange name or the routing key is longer than 255 bytes.
    """
    payload = _PUBLISH + short_string(exchange) + short_string(routing_key) + (b"\x01" if mandatory else b"\x00")
    return FRAME_HEAD.pack(METHOD, channel, len(payload)) + payload + b"\xce"


def ack(channel: int, delivery_tag: int, *, multiple: bool = False) -> bytes:
    """Return the complete ``basic.ack`` frame; ``multiple`` acknowledges all deliveries up to this one."""
    return _SETTLE.pack(METHOD, channel, 13, ACK, delivery_tag, multiple, END)


def reject(channel: int, delivery_tag: int, *, requeue: bool) -> bytes:
    """Return the complete ``basic.reject`` frame."""
    return _SETTLE.pack(METHOD, channel, 13, _REJECT, delivery_tag, requeue, END)


def parse_deliver(data: bytes, start: int, end: int) -> tuple[int, bool, bool]:
    """Return the delivery tag, the redelivered flag, and whether it came through the default exchange.

    The payload is that of ``basic.deliver``.

    Raises:
        FrameError: the payload is truncated.
    """
    tag = start + 5 + data[start + 4]
    if tag + 10 > end:
        raise FrameError("the payload of basic.deliver is truncated")
    return _UNSIGNED_64.unpack_from(data, tag)[0], data[tag + 8] & 1 == 1, data[tag + 9] == 0


def parse_max_message(code: int, text: str) -> int | None:
    """Return the largest body that the broker accepts, if it closed a channel because of a larger one.

    Args:
        code: reply code of ``channel.close``.
        text: reply text.
    """
    found = _TOO_LARGE.search(text) if code == PRECONDITION_FAILED else None
    return int(found[1]) if found else None


def parse_reason(data: bytes, start: int, end: int) -> tuple[int, str]:
    """Return reply code and reply text of a ``basic.return``, ``channel.close`` or ``connection.close`` payload.

    Raises:
        FrameError: the payload is truncated.
    """
    if end - start < 7 or start + 7 + data[start + 6] > end:
        raise FrameError("a reply code with its reply text is truncated")
    text = data[start + 7 : start + 7 + data[start + 6]].decode("utf-8", "replace")
    return int.from_bytes(data[start + 4 : start + 6], "big"), text


def parse_returned_key(data: bytes, start: int, end: int) -> bytes:
    """Return the routing key of a ``basic.return`` payload.

    Raises:
        FrameError: the payload is truncated.
    """
    position = start + 6  # behind the reply code; reply text, exchange and routing key follow
    for _ in range(2):
        if position >= end:
            break
        position += 1 + data[position]
    if position >= end or position + 1 + data[position] > end:
        raise FrameError("the payload of basic.return is truncated")
    return data[position + 1 : position + 1 + data[position]]
