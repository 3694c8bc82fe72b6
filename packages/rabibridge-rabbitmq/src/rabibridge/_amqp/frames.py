"""AMQP 0-9-1 frames of the call path, as pure functions over bytes: no asyncio, no sockets.

Only what a call needs is here: publishing, delivering, settling, confirms and returns. Everything else of the protocol
is aiormq's. The layout is that of the AMQP 0-9-1 specification, with RabbitMQ's ``basic.nack``.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "ACK",
    "BODY",
    "CANCEL",
    "CHANNEL_CLOSE",
    "CONNECTION_BLOCKED",
    "CONNECTION_CLOSE",
    "CONNECTION_UNBLOCKED",
    "DELIVER",
    "END",
    "HEADER",
    "HEARTBEAT",
    "LENGTHS",
    "METHOD",
    "NACK",
    "PROBE_TABLE",
    "RETURN",
    "FrameError",
    "FrameHandler",
    "FrameParser",
    "Frames",
    "Properties",
    "ack",
    "content",
    "deadline_table",
    "delivery",
    "encode_properties",
    "parse_deadline_table",
    "parse_properties",
    "publish_method",
    "reject",
    "return_reason",
    "returned_key",
    "short_string",
]

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
_HEARTBEAT_KIND: Final = 8
END: Final = 0xCE
HEARTBEAT: Final = b"\x08\0\0\0\0\0\0\xce"

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

_FRAME = struct.Struct(">BHI")
_CONTENT_HEADER = struct.Struct(">BHIHHQH")
_BODY_AFTER_HEADER = struct.Struct(">BBHI")
_SETTLE = struct.Struct(">BHI4sQBB")
_UNSIGNED_64 = struct.Struct(">Q")

# Flags of the basic properties, in the order in which they stand on the wire.
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE, _PRIORITY = 0x8000, 0x4000, 0x2000, 0x1000, 0x0800
_CORRELATION_ID, _REPLY_TO, _EXPIRATION = 0x0400, 0x0200, 0x0100
_AFTER_EXPIRATION = 0x00FF

# The two headers that tell a worker of the deadline, laid out once: the length of the table, then name, type "l"
# (signed 64 bits) and value of each.
_TO_TIMEOUT, _TO_DEADLINE = b"\0\0\0\x29\x0arb-timeoutl", b"\x0brb-deadlinel"
_DEADLINE_TABLE = struct.Struct(">16sq13sq")

PROBE_TABLE: Final = b"\x00\x00\x00\x0b\x08rb-probet\x01"
"""The header table of a call without a deadline: whoever runs it may ask whether its caller is still there."""


Frames: TypeAlias = "bytes | list[bytes | memoryview]"
"""Whole frames to send: in one piece, or, with a large body, in pieces that follow each other."""


class FrameError(ValueError):
    """The bytes are not AMQP, or not in an order that AMQP allows: the connection cannot be trusted any more."""


class FrameHandler(Protocol):
    """Whatever wants the frames of one channel."""

    def frame(self, kind: int, data: bytes, start: int, end: int) -> bool:
        """Take the frame whose payload is ``data[start:end]``; return whether it was taken."""
        ...

    def message(self, data: bytes, start: int, end: int, size: int) -> int:
        """Take a whole message at once, and return where it ends; 0: it is taken frame by frame.

        Its method frame, up to its end octet, is ``data[start:end + 1]``; ``size`` is the length of ``data``.
        """
        ...


class FrameParser:
    """Cuts a stream of bytes into frames, however it is chunked, and hands each to its channel's sink.

    What no sink takes goes to ``other``, as whole frames, in order.
    """

    def __init__(self, sinks: Mapping[int, FrameHandler], other: Callable[[bytes], None], max_payload: int) -> None:
        """Look up sinks by channel number; refuse frames with a payload over ``max_payload`` bytes."""
        self._sinks = sinks
        self._other = other
        self.max_payload = max_payload
        self._rest: list[bytes] = []  # of a frame that has not arrived as a whole
        self._rest_size = 0
        self._wanted = 0

    def feed(self, data: bytes) -> bool:
        """Take the next bytes; return whether a sink took a frame.

        Raises:
            FrameError: the bytes are not AMQP frames.
        """
        if self._rest:
            self._rest.append(data)
            self._rest_size += len(data)
            if self._rest_size < self._wanted:
                return False
            data = b"".join(self._rest)
            self._rest.clear()
        position, size, taken, sinks = 0, len(data), False, self._sinks
        self._wanted = 7
        try:
            while size - position >= 7:
                kind, channel, length = _FRAME.unpack_from(data, position)
                end = position + 7 + length
                if end >= size:
                    self._check(kind, channel, length)
                    self._wanted = end + 1 - position
                    break
                if data[end] != END:
                    raise FrameError(f"a frame of {length} bytes on channel {channel} does not end where it says")
                sink = sinks.get(channel)
                if kind == METHOD and sink is not None and (after := sink.message(data, position, end, size)):
                    taken, position = True, after
                    continue
                if sink is not None and sink.frame(kind, data, position + 7, end):
                    taken = True
                else:
                    self._check(kind, channel, length)
                    self._other(data[position : end + 1])
                position = end + 1
        except (IndexError, struct.error) as error:
            raise FrameError(f"a frame ends too early: {error}") from error
        if position < size:
            self._rest.append(data[position:] if position else data)
            self._rest_size = size - position
        return taken

    def _check(self, kind: int, channel: int, length: int) -> None:
        if kind not in (METHOD, HEADER, BODY, _HEARTBEAT_KIND):
            raise FrameError(f"unknown frame type {kind} on channel {channel}")
        if length > self.max_payload:
            raise FrameError(f"a frame of {length} bytes on channel {channel}, {self.max_payload} were agreed")


class Properties(NamedTuple):
    """The properties of a message that a call uses; the others are passed over.

    ``raw`` is all of them as they came, from their flags on, where somebody wants to send them on; else empty.
    """

    content_type: str | None
    content_encoding: str | None
    headers: bytes
    correlation_id: bytes
    reply_to: bytes
    expiration: bytes
    persistent: bool = False
    raw: bytes = b""


LENGTHS: Final = tuple(bytes((length,)) for length in range(256))
"""What stands before a short string, by its length."""


def _length(value: bytes) -> bytes:
    try:
        return LENGTHS[len(value)]
    except IndexError:
        raise FrameError(f"{len(value)} bytes do not fit into a short string of 255") from None


def short_string(value: bytes) -> bytes:
    """Encode up to 255 bytes."""
    return _length(value) + value


def publish_method(channel: int, exchange: bytes, routing_key: bytes, *, mandatory: bool) -> bytes:
    """Return the whole ``basic.publish`` frame; a content must follow."""
    payload = _PUBLISH + short_string(exchange) + short_string(routing_key) + (b"\x01" if mandatory else b"\x00")
    return _FRAME.pack(METHOD, channel, len(payload)) + payload + b"\xce"


def content(channel: int, method: bytes, flags: int, properties: bytes, body: bytes, max_payload: int) -> Frames:
    """Return all frames of a message: the method, the content header, and as many body frames as it takes.

    Args:
        channel: the channel number.
        method: the frame of the method.
        flags: which properties are there.
        properties: them, encoded.
        body: the body.
        max_payload: the most bytes that one frame may carry.
    """
    size = len(body)
    header = _CONTENT_HEADER.pack(HEADER, channel, 14 + len(properties), 60, 0, size, flags)
    if 0 < size <= max_payload:
        return b"".join((method, header, properties, _BODY_AFTER_HEADER.pack(END, BODY, channel, size), body, b"\xce"))
    parts: list[bytes | memoryview] = [method, header, properties, b"\xce"]
    view = memoryview(body)  # a large body goes to the socket without a copy
    for start in range(0, size, max_payload):
        part = view[start : start + max_payload]
        parts += (_FRAME.pack(BODY, channel, len(part)), part, b"\xce")
    return parts


def encode_properties(
    content_type: bytes,
    content_encoding: bytes,
    table: bytes,
    correlation_id: bytes,
    reply_to: bytes = b"",
    expiration: bytes = b"",
    persistent: bool = False,
) -> tuple[int, bytes]:
    """Return flags and properties; what is empty is left out. ``table`` is an encoded header table with its length."""
    flags, encoded = _content_properties(content_type, content_encoding)
    if table:
        flags |= _HEADERS
        encoded += table
    if persistent:
        flags |= _DELIVERY_MODE
        encoded += b"\x02"
    if correlation_id:
        flags |= _CORRELATION_ID
        encoded += _length(correlation_id) + correlation_id
    if reply_to:
        flags |= _REPLY_TO
        encoded += _length(reply_to) + reply_to
    if expiration:
        flags |= _EXPIRATION
        encoded += _length(expiration) + expiration
    return flags, encoded


@lru_cache(maxsize=256)
def _content_properties(content_type: bytes, content_encoding: bytes) -> tuple[int, bytes]:
    flags = (_CONTENT_TYPE if content_type else 0) | (_CONTENT_ENCODING if content_encoding else 0)
    return flags, b"".join(short_string(value) for value in (content_type, content_encoding) if value)


def parse_properties(data: bytes, start: int, end: int) -> Properties:
    """Parse the payload of a content header from its flags on.

    Raises:
        FrameError: it ends too early.
    """
    flags = (data[start] << 8) | data[start + 1] if end - start >= 2 else -1
    position = start + 2
    content_type = content_encoding = None
    headers = correlation_id = reply_to = expiration = b""
    persistent = False
    if flags & _CONTENT_TYPE:
        stop = position + 1 + data[position]
        content_type = data[position + 1 : stop].decode("utf-8", "replace")
        position = stop
    if flags & _CONTENT_ENCODING:
        stop = position + 1 + data[position]
        content_encoding = data[position + 1 : stop].decode("utf-8", "replace")
        position = stop
    if flags & _HEADERS:
        stop = position + 4 + int.from_bytes(data[position : position + 4], "big")
        headers = data[position:stop]
        position = stop
    if flags & _DELIVERY_MODE:
        persistent = data[position] == 2
        position += 1
    if flags & _PRIORITY:
        position += 1
    if flags & _CORRELATION_ID:
        stop = position + 1 + data[position]
        correlation_id = data[position + 1 : stop]
        position = stop
    if flags & _REPLY_TO:
        stop = position + 1 + data[position]
        reply_to = data[position + 1 : stop]
        position = stop
    if flags & _EXPIRATION:
        stop = position + 1 + data[position]
        expiration = data[position + 1 : stop]
        position = stop
    # Reading past the payload finds other bytes, not an end: only the sum tells whether all of it was inside.
    if position > end or (position < end and not flags & _AFTER_EXPIRATION):
        raise FrameError("the properties of a message do not fit into their frame")
    return Properties(content_type, content_encoding, headers, correlation_id, reply_to, expiration, persistent)


def deadline_table(timeout_ms: int, deadline_ms: int) -> bytes:
    """Return the header table of a call with a deadline: time left and end of it, in milliseconds."""
    return _DEADLINE_TABLE.pack(_TO_TIMEOUT, timeout_ms, _TO_DEADLINE, deadline_ms)


def parse_deadline_table(table: bytes) -> tuple[int, int] | None:
    """Return time left and end if the table is exactly what :func:`deadline_table` makes, else ``None``."""
    if len(table) != _DEADLINE_TABLE.size:
        return None
    to_timeout, timeout_ms, to_deadline, deadline_ms = _DEADLINE_TABLE.unpack(table)
    return (timeout_ms, deadline_ms) if to_timeout == _TO_TIMEOUT and to_deadline == _TO_DEADLINE else None


def ack(channel: int, delivery_tag: int, *, multiple: bool = False) -> bytes:
    """Return the whole ``basic.ack`` frame; ``multiple``: of all deliveries up to this one."""
    return _SETTLE.pack(METHOD, channel, 13, ACK, delivery_tag, multiple, END)


def reject(channel: int, delivery_tag: int, *, requeue: bool) -> bytes:
    """Return the whole ``basic.reject`` frame."""
    return _SETTLE.pack(METHOD, channel, 13, _REJECT, delivery_tag, requeue, END)


def delivery(data: bytes, start: int, end: int) -> tuple[int, bool]:
    """Return delivery tag and whether it was delivered before, from the payload of ``basic.deliver``.

    Raises:
        FrameError: it ends too early.
    """
    tag = start + 5 + data[start + 4]
    if tag + 9 > end:
        raise FrameError("basic.deliver ends too early")
    return _UNSIGNED_64.unpack_from(data, tag)[0], data[tag + 8] & 1 == 1


def return_reason(data: bytes, start: int, end: int) -> tuple[int, str]:
    """Return reply code and text from the payload of ``basic.return``, ``channel.close`` or ``connection.close``.

    Raises:
        FrameError: it ends too early.
    """
    if end - start < 7 or start + 7 + data[start + 6] > end:
        raise FrameError("a reply code with its text ends too early")
    text = data[start + 7 : start + 7 + data[start + 6]].decode("utf-8", "replace")
    return int.from_bytes(data[start + 4 : start + 6], "big"), text


def returned_key(data: bytes, start: int, end: int) -> bytes:
    """Return the routing key from the payload of ``basic.return``.

    Raises:
        FrameError: it ends too early.
    """
    position = start + 6  # past the code; then come the text, the exchange and the key
    for _ in range(2):
        if position >= end:
            break
        position += 1 + data[position]
    if position >= end or position + 1 + data[position] > end:
        raise FrameError("basic.return ends too early")
    return data[position + 1 : position + 1 + data[position]]
