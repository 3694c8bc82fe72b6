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
from rabibridge._amqp.frames import BODY, CONTENT_HEADER, END, HEADER, NEXT_FRAME, FrameError, short_string
from rabibridge._amqp.properties import parse_properties

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge._amqp.properties import Properties

__all__ = ["BUNDLE_BYTES", "BUNDLE_REPLIES", "BUNDLE_TYPE", "BundleError", "encode_bundles", "parse_bundle"]

BUNDLE_TYPE: Final = "application/vnd.rabibridge.bundle"
"""The content type of a bundle."""
BUNDLE_REPLIES: Final = 256
"""Maximum number of replies in a bundle."""
BUNDLE_BYTES: Final = 64 * 1024
"""Maximum size of the body of a bundle, in bytes."""

_VERSION = b"\x01"
_RECORD = struct.Struct(">IHHQH")
"""The start of a reply: length of its content header, class, weight, body size, property flags."""
_CLASS = 60
_LENGTH = 4
_FLAGS_AT = 16
"""Where the property flags stand in a reply."""
_SHORTEST = 14
"""The length of a content header without properties."""
_LENGTH_AT = 3
"""Where the length stands in the frame of a content header."""
_BODY_HEAD = 8
"""What stands between the properties and the body in one body frame: the end of one frame, the head of the next."""
_FRAMING = _LENGTH_AT + _BODY_HEAD + 1
"""What a reply in a bundle lacks of its frames, besides the method."""
_ONE_REPLY = 3
"""The parts of a bundle of one reply: the version, its content header and its body."""
_BUNDLE_FLAGS = 0x8400  # content_type and correlation_id, as a usual reply has; here, the latter is empty
_BUNDLE_PROPERTIES = short_string(BUNDLE_TYPE.encode()) + b"\0"


class BundleError(ValueError):
    """The bytes are no bundle."""


def encode_bundles(channel: int, replies: Sequence[tuple[bytes, bytes, bytes, int]], max_size: int) -> bytes:
    """Return all frames that send these replies, in order, in as few bundles as their limits allow.

    A reply that would be alone in a bundle is sent as it is.

    Args:
        channel: channel number.
        replies: up to :data:`BUNDLE_REPLIES` replies to one address. Of each: the address, the encoded
            ``basic.publish`` frame, all frames including that one, with one body frame, and the size of the body.
        max_size: maximum size of the body of a bundle, in bytes: it must fit into one frame.
    """
    max_size = min(max_size, BUNDLE_BYTES)
    _, method, alone, _ = replies[0]
    if len(replies) == 1:
        return alone
    begin, framing = len(method) + _LENGTH_AT, len(method) + _FRAMING
    bundles = []
    parts, size = [_VERSION], len(_VERSION)
    for _, _, frames, body_size in replies:
        more = len(frames) - framing
        if size + more > max_size:
            bundles.append(_bundle(channel, method, parts, size, alone))
            parts, size = [_VERSION], len(_VERSION)
        if size == 1:
            alone = frames
        size += more
        body = -1 - body_size
        parts += (frames[begin : body - _BODY_HEAD], frames[body:-1])
    bundles.append(_bundle(channel, method, parts, size, alone))
    return b"".join(bundles)


def _bundle(channel: int, method: bytes, parts: list[bytes], size: int, alone: bytes) -> bytes:
    if len(parts) <= _ONE_REPLY:
        return alone if len(parts) == _ONE_REPLY else b""
    header = CONTENT_HEADER.pack(HEADER, channel, _SHORTEST + len(_BUNDLE_PROPERTIES), _CLASS, 0, size, _BUNDLE_FLAGS)
    return b"".join((method, header, _BUNDLE_PROPERTIES, NEXT_FRAME.pack(END, BODY, channel, size), *parts, b"\xce"))


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
