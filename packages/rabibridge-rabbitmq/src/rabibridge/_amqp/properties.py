"""The basic properties of a message: encoding and parsing of those that calls use."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from rabibridge._amqp.frames import LENGTH_OCTETS, FrameError, short_string

__all__ = ["USER_ID", "Properties", "encode_content_properties", "encode_properties", "parse_properties", "user_of"]

# Property flags, in the order in which the properties appear on the wire.
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE, _PRIORITY = 0x8000, 0x4000, 0x2000, 0x1000, 0x0800
_CORRELATION_ID, _REPLY_TO, _EXPIRATION = 0x0400, 0x0200, 0x0100
_MESSAGE_ID, _TIMESTAMP, _TYPE = 0x0080, 0x0040, 0x0020
_AFTER_EXPIRATION = 0x00FF
_AFTER_USER_ID = 0x000F
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
        raw: all properties as received, starting with the flags, of messages that may have to be republished; else
            empty. :func:`encode_properties` ignores it.
        user_id: the user that publishes the message, which the broker checks; empty if it is not named.
    """

    content_type: str | None = None
    content_encoding: str | None = None
    headers: bytes = b""
    correlation_id: bytes = b""
    reply_to: bytes = b""
    expiration: bytes = b""
    persistent: bool = False
    raw: bytes = b""
    user_id: bytes = b""


def encode_properties(properties: Properties) -> tuple[int, bytes]:
    """Return the property flags and the encoded properties; empty properties are omitted.

    Raises:
        FrameError: a property is longer than 255 bytes.
    """
    content_type, content_encoding, table, correlation_id, reply_to, expiration, persistent, _, user_id = properties
    flags, encoded = encode_content_properties(content_type, content_encoding)
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
        if user_id:
            flags |= USER_ID
            encoded += LENGTH_OCTETS[len(user_id)] + user_id
    except IndexError:
        size = max(len(correlation_id), len(reply_to), len(expiration), len(user_id))
        raise FrameError(f"a property holds at most 255 bytes, got {size}") from None
    return flags, encoded


@lru_cache(maxsize=256)
def encode_content_properties(content_type: str | None, content_encoding: str | None) -> tuple[int, bytes]:
    """Return the property flags of these two, and the two encoded."""
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
    headers = correlation_id = reply_to = expiration = user_id = b""
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
    if flags & USER_ID and not flags & 1:
        if flags & _MESSAGE_ID:
            position += 1 + data[position]
        if flags & _TIMESTAMP:
            position += 8
        if flags & _TYPE:
            position += 1 + data[position]
        stop = position + 1 + data[position]
        user_id = data[position + 1 : stop]
        position = stop
    # Slicing beyond `end` yields bytes of the next frame instead of failing: only the final position shows an overrun.
    skipped = _AFTER_USER_ID if user_id else _AFTER_EXPIRATION
    if position > end or (position < end and not flags & skipped):
        raise FrameError("the properties of a message exceed or do not fill their frame")
    return Properties(
        content_type, content_encoding, headers, correlation_id, reply_to, expiration, persistent, b"", user_id
    )


def user_of(properties: Properties) -> str:
    """Return the user that has published a message, as the broker has checked it.

    Empty: it is not named, or its name is not UTF-8, so that it could be taken for another one.
    """
    return _user(properties.user_id)


@lru_cache(maxsize=256)
def _user(user_id: bytes) -> str:
    try:
        return user_id.decode()
    except UnicodeDecodeError:
        return ""
