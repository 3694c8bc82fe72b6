"""The basic properties of a message: encoding and parsing of those that calls use."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from rabibridge._amqp.frames import LENGTH_OCTETS, FrameError, short_string

__all__ = ["USER_ID", "Properties", "encode_properties", "parse_properties", "parse_user_id", "with_user_id"]

# Property flags, in the order in which the properties appear on the wire.
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE, _PRIORITY = 0x8000, 0x4000, 0x2000, 0x1000, 0x0800
_CORRELATION_ID, _REPLY_TO, _EXPIRATION = 0x0400, 0x0200, 0x0100
_AFTER_EXPIRATION = 0x00FF
USER_ID = 0x0010
"""The property flag of a message that names its user."""


class Properties(NamedTuple):
    """The properties of a message that calls use; the other properties are skipped.

    Attributes:
        content_type: MIME type of the body, ``None`` if not given.
        content_encoding: compression of the body, ``None`` if not given.
        headers: encoded header table including its length, empty if not given.
        correlation_id: identifies the call among those of its caller.
        reply_to: name of the queue for the reply.
        expiration: milliseconds as text.
        persistent: whether the broker is to write the message to disk.
        raw: all properties as received, starting with the flags, of messages that may have to be republished or that
            name their user; else empty. :func:`encode_properties` ignores it.
    """

    content_type: str | None = None
    content_encoding: str | None = None
    headers: bytes = b""
    correlation_id: bytes = b""
    reply_to: bytes = b""
    expiration: bytes = b""
    persistent: bool = False
    raw: bytes = b""


def encode_properties(properties: Properties) -> tuple[int, bytes]:
    """Return the property flags and the encoded properties; empty properties are omitted.

    Raises:
        FrameError: a property is longer than 255 bytes.
    """
    content_type, content_encoding, table, correlation_id, reply_to, expiration, persistent, _ = properties
    flags, encoded = _encode_content_properties(content_type, content_encoding)
    if table:
        flags |= _HEADERS
        encoded += table
    if persistent:
        flags |= _DELIVERY_MODE
        encoded += b"\x02"
    try:
        if correlation_id:
            flags |= _CORRELATION_ID
            encoded += LENGTH_OCTETS[len(correlation_id)] + correlation_id
        if reply_to:
            flags |= _REPLY_TO
            encoded += LENGTH_OCTETS[len(reply_to)] + reply_to
        if expiration:
            flags |= _EXPIRATION
            encoded += LENGTH_OCTETS[len(expiration)] + expiration
    except IndexError:
        size = max(len(correlation_id), len(reply_to), len(expiration))
        raise FrameError(f"a property holds at most 255 bytes, got {size}") from None
    return flags, encoded


@lru_cache(maxsize=256)
def _encode_content_properties(content_type: str | None, content_encoding: str | None) -> tuple[int, bytes]:
    flags = (_CONTENT_TYPE if content_type else 0) | (_CONTENT_ENCODING if content_encoding else 0)
    return flags, b"".join(short_string(value.encode()) for value in (content_type, content_encoding) if value)


def parse_properties(data: bytes, start: int, end: int) -> Properties:
    """Parse the properties in ``data[start:end]``, which starts with the property flags.

    Raises:
        FrameError: the properties do not end at ``end``.
        IndexError: ``data`` ends within the properties.
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
    # Slicing beyond `end` yields bytes of the next frame instead of failing: only the final position shows an overrun.
    if position > end or (position < end and not flags & _AFTER_EXPIRATION):
        raise FrameError("the properties of a message exceed or do not fill their frame")
    return Properties(content_type, content_encoding, headers, correlation_id, reply_to, expiration, persistent)


def with_user_id(flags: int, encoded: bytes, user_id: bytes) -> tuple[int, bytes]:
    """Add the user that publishes to what :func:`encode_properties` returned; the broker checks it."""
    return flags | USER_ID, encoded + LENGTH_OCTETS[len(user_id)] + user_id


def parse_user_id(properties: Properties) -> bytes:
    """Return the user that published a message, which the broker has checked; empty if it is not named."""
    data = properties.raw
    flags = int.from_bytes(data[:2], "big")
    if not flags & USER_ID or flags & 1:
        return b""
    position = 2
    for field in range(11):
        if flags & (0x8000 >> field):
            if field == 2:
                position += 4 + int.from_bytes(data[position : position + 4], "big")
            elif field in (3, 4):
                position += 1
            elif field == 9:
                position += 8
            else:
                position += 1 + data[position]
    return data[position + 1 : position + 1 + data[position]]
