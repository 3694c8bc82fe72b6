"""Bundles: several replies to one caller in one message, as pure functions over bytes.

A broker spends far more on a message than on its bytes: on routing it, on a frame for its method, on waking up whoever
receives it. A caller with hundreds of calls in flight gets many replies at once, and a bundle brings them for the price
of one message. Its body is a version byte and, for each reply, the payload of its AMQP content header behind its length
in four bytes, and then its body: so a reply has the same properties as in a message of its own, and is read by the same
code. Signatures and encryption are in these properties and bodies; a bundle adds nothing to them.

A bundle that is malformed anywhere is refused as a whole, since the rest of it cannot be trusted either.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from rabibridge._amqp.fast_path import parse_common_properties
from rabibridge._amqp.field_tables import encode_table
from rabibridge._amqp.frames import (
    BODY,
    CONTENT_HEADER,
    END,
    FRAME_HEAD,
    HEADER,
    LENGTH_OCTETS,
    NEXT_FRAME,
    FrameError,
    short_string,
)
from rabibridge._amqp.properties import encode_content_properties, parse_properties

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge._amqp.properties import Properties
    from rabibridge_core.transport import Reply

__all__ = [
    "BUNDLED_MAX",
    "BUNDLE_BYTES",
    "BUNDLE_REPLIES",
    "BUNDLE_TYPE",
    "BundleError",
    "encode_bundles",
    "encode_record",
    "parse_bundle",
]

BUNDLE_TYPE: Final = "application/vnd.rabibridge.bundle"
"""The content type of a bundle."""
BUNDLE_REPLIES: Final = 256
"""Maximum number of replies in a bundle."""
BUNDLE_BYTES: Final = 64 * 1024
"""Maximum size of the body of a bundle, in bytes."""
BUNDLED_MAX: Final = 4096
"""Maximum body of a reply that goes into a bundle, in bytes: to copy more costs as much as a message."""

_VERSION = b"\x01"
_RECORD = struct.Struct(">IHHQH")
"""The start of a reply: length of its content header, class, weight, body size, property flags."""
_CLASS = 60
_LENGTH = 4
_FLAGS_AT = 16
"""Where the property flags stand in a reply."""
_SHORTEST = 14
"""The length of a content header without properties."""
_TABLE_MAX = 2048
"""Maximum size of the headers of a reply in a bundle, in bytes."""
_CORRELATION_ID, _HEADERS = 0x0400, 0x2000
_BUNDLE_FLAGS = 0x8400  # content_type and correlation_id, as a usual reply has; here, the latter is empty
_BUNDLE_PROPERTIES = short_string(BUNDLE_TYPE.encode()) + b"\0"


class BundleError(ValueError):
    """The bytes are no bundle."""


def encode_record(correlation_id: bytes, reply: Reply) -> bytes:
    """Return a reply as it is in a bundle; nothing if it has large headers or a large body, or no correlation id."""
    body, content_type, content_encoding, headers = reply
    size, id_size = len(body), len(correlation_id)
    if size > BUNDLED_MAX or not 0 < id_size < 256:
        return b""
    flags, types = encode_content_properties(content_type, content_encoding)
    if not headers:
        return b"".join(
            (
                _RECORD.pack(15 + len(types) + id_size, _CLASS, 0, size, flags | _CORRELATION_ID),
                types, LENGTH_OCTETS[id_size], correlation_id, body,
            )
        )  # fmt: skip
    table = encode_table(headers)
    if len(table) > _TABLE_MAX:
        return b""
    return b"".join(
        (
            _RECORD.pack(15 + len(types) + len(table) + id_size, _CLASS, 0, size, flags | _CORRELATION_ID | _HEADERS),
            types, table, LENGTH_OCTETS[id_size], correlation_id, body,
        )
    )  # fmt: skip


def encode_bundles(channel: int, method: bytes, records: Sequence[bytes], max_size: int) -> bytes:
    """Return all frames that send these replies, in order, in as few bundles as their limits allow.

    A reply that would be alone in a bundle is sent as a message of its own.

    Args:
        channel: channel number.
        method: encoded ``basic.publish`` frame.
        records: at most :data:`BUNDLE_REPLIES` of what :func:`encode_record` returns.
        max_size: maximum size of the body of a bundle, in bytes: it must fit into one frame.
    """
    if len(records) == 1:
        return _alone(channel, method, records[0])
    room = min(max_size, BUNDLE_BYTES) - len(_VERSION)
    size = sum(map(len, records))
    if size <= room:
        return _bundle(channel, method, records, size)
    messages = []
    start = size = 0
    for end, record in enumerate(records):
        if size + len(record) > room and end > start:
            messages.append(encode_bundles(channel, method, records[start:end], max_size))
            start, size = end, 0
        size += len(record)
    messages.append(encode_bundles(channel, method, records[start:], max_size))
    return b"".join(messages)


def _bundle(channel: int, method: bytes, records: Sequence[bytes], size: int) -> bytes:
    size += len(_VERSION)
    length = _SHORTEST + len(_BUNDLE_PROPERTIES)
    header = CONTENT_HEADER.pack(HEADER, channel, length, _CLASS, 0, size, _BUNDLE_FLAGS)
    body_head = NEXT_FRAME.pack(END, BODY, channel, size)
    return b"".join((method, header, _BUNDLE_PROPERTIES, body_head, _VERSION, *records, b"\xce"))


def _alone(channel: int, method: bytes, record: bytes) -> bytes:
    length = int.from_bytes(record[:_LENGTH], "big")
    body = record[_LENGTH + length :]
    header = method + FRAME_HEAD.pack(HEADER, channel, length) + record[_LENGTH : _LENGTH + length]
    if not body:
        return header + b"\xce"
    return b"".join((header, NEXT_FRAME.pack(END, BODY, channel, len(body)), body, b"\xce"))


def parse_bundle(content: bytes) -> list[tuple[Properties, bytes]]:
    """Return properties and body of each reply in a bundle.

    Raises:
        BundleError: it is malformed, or larger than a bundle may be.
    """
    end = len(content)
    if end > BUNDLE_BYTES:
        raise BundleError(f"it has more than {BUNDLE_BYTES} bytes")
    if not content.startswith(_VERSION):
        raise BundleError(f"its version is unknown: {content[:1].hex()}")
    replies: list[tuple[Properties, bytes]] = []
    position = len(_VERSION)
    try:
        while position < end:
            length, of_class, weight, size, flags = _RECORD.unpack_from(content, position)
            body = position + _LENGTH + length
            after = body + size
            if of_class != _CLASS or weight or length < _SHORTEST or after > end:
                raise BundleError(f"the content header of reply {len(replies)} is malformed")
            properties = parse_common_properties(flags, content, position + _RECORD.size, body)
            if properties is None:
                properties = parse_properties(content, position + _FLAGS_AT, body)
            if not properties[3]:
                raise BundleError(f"reply {len(replies)} has no correlation id")
            replies.append((properties, content[body:after]))
            position = after
    except (FrameError, IndexError, struct.error) as error:
        raise BundleError(f"reply {len(replies)} is malformed: {error}") from error
    if not 0 < len(replies) <= BUNDLE_REPLIES:
        raise BundleError(f"it has {len(replies)} replies; 1 to {BUNDLE_REPLIES} are allowed")
    return replies
