"""AMQP 0-9-1 frames as pure functions over bytes: splitting a byte stream into frames, and encoding message content.

Only what calls need is here and in ``methods`` and ``properties``: publishing, deliveries, acknowledgements, publisher
confirms and returns. ``control_methods`` has what the start of a service needs; aiormq handles the rest.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "BODY",
    "CONTENT_HEADER",
    "END",
    "FRAME_HEAD",
    "HEADER",
    "HEARTBEAT",
    "LENGTH_OCTETS",
    "METHOD",
    "NEXT_FRAME",
    "FrameError",
    "FrameHandler",
    "FrameParser",
    "Frames",
    "content",
    "count_methods",
    "short_string",
]

METHOD: Final = 1
HEADER: Final = 2
BODY: Final = 3
_HEARTBEAT_TYPE: Final = 8
END: Final = 0xCE
HEARTBEAT: Final = b"\x08\0\0\0\0\0\0\xce"

FRAME_HEAD: Final = struct.Struct(">BHI")
"""The start of a frame: type, channel, payload length."""
CONTENT_HEADER: Final = struct.Struct(">BHIHHQH")
"""A content header frame up to the property flags: type, channel, length, class, weight, body size, flags."""
NEXT_FRAME: Final = struct.Struct(">BBHI")
"""The end of one frame and the head of the next: end octet, type, channel, length."""

Frames: TypeAlias = "bytes | list[bytes | memoryview]"
"""Complete frames to send: in one piece or, for a large body, as consecutive pieces."""


_COPIED = 16 * 1024
"""Up to this many bytes are copied rather than handled in two pieces."""


class FrameError(ValueError):
    """The bytes are not valid AMQP, or the frames are in an order that AMQP forbids. The connection is unusable."""


class FrameHandler(Protocol):
    """Handles the frames of one channel."""

    def handle_frame(self, kind: int, data: bytes, start: int, end: int) -> bool:
        """Handle the frame whose payload is ``data[start:end]``; return ``False`` to leave it to ``fallback``."""
        ...

    def handle_message(self, data: bytes, start: int, end: int, size: int) -> int:
        """Handle a complete message at once and return the position after it; 0 to receive it frame by frame.

        The method frame of the message, including its end octet, is ``data[start:end + 1]``; ``size`` is the length of
        ``data``.
        """
        ...


class FrameParser:
    """Splits a byte stream, however it is chunked, into frames, and passes each to the handler of its channel.

    Frames that no handler takes go to ``fallback``, complete and in order.
    """

    def __init__(
        self, handlers: Mapping[int, FrameHandler], fallback: Callable[[bytes], None], max_payload: int
    ) -> None:
        """Look up handlers by channel number; reject frames with a payload over ``max_payload`` bytes."""
        self._handlers = handlers
        self._fallback = fallback
        self.max_payload = max_payload
        self._partial: list[bytes] = []  # chunks of a frame that has not arrived completely
        self._partial_size = 0
        self._needed = 0

    def feed(self, data: bytes) -> bool:
        """Process the next bytes; return whether a handler took a frame.

        Raises:
            FrameError: the bytes are not AMQP frames.
        """
        position, size, taken, handlers = 0, len(data), False, self._handlers
        if self._partial:
            self._partial_size += size
            beyond = self._partial_size - self._needed
            if beyond < 0:
                self._partial.append(data)
                return False
            if beyond >= _COPIED and self._needed > 7:  # much follows the frame that has begun: join that one alone
                position = size - beyond
                self._partial.append(data[:position])
            else:
                self._partial.append(data)
            joined = b"".join(self._partial)
            self._partial.clear()
            if position:
                taken = self.feed(joined)
            else:
                data, size = joined, len(joined)
        self._needed = 7
        try:
            while size - position >= 7:
                kind, channel, length = FRAME_HEAD.unpack_from(data, position)
                end = position + 7 + length
                if end >= size:
                    self._check(kind, channel, length)
                    self._needed = end + 1 - position
                    break
                if data[end] != END:
                    raise FrameError(
                        f"a frame of {length} bytes on channel {channel} does not end with the frame-end octet 0xCE"
                    )
                handler = handlers.get(channel)
                if (
                    kind == METHOD
                    and handler is not None
                    and (after := handler.handle_message(data, position, end, size))
                ):
                    taken, position = True, after
                    continue
                if handler is not None and handler.handle_frame(kind, data, position + 7, end):
                    taken = True
                else:
                    self._check(kind, channel, length)
                    self._fallback(data[position : end + 1])
                position = end + 1
        except (IndexError, struct.error) as error:
            raise FrameError(f"a frame is truncated: {error}") from error
        if position < size:
            self._partial.append(data[position:] if position else data)
            self._partial_size = size - position
        return taken

    def _check(self, kind: int, channel: int, length: int) -> None:
        if kind not in (METHOD, HEADER, BODY, _HEARTBEAT_TYPE):
            raise FrameError(f"unknown frame type {kind} on channel {channel}")
        if length > self.max_payload:
            raise FrameError(
                f"a frame of {length} bytes on channel {channel} exceeds the negotiated maximum of "
                f"{self.max_payload} bytes"
            )


LENGTH_OCTETS: Final = tuple(bytes((length,)) for length in range(256))
"""The octet in front of a short string, by the length of the string."""


def short_string(value: bytes) -> bytes:
    """Encode a short string: at most 255 bytes, preceded by their number.

    Raises:
        FrameError: ``value`` is longer than 255 bytes.
    """
    try:
        return LENGTH_OCTETS[len(value)] + value
    except IndexError:
        raise FrameError(f"a short string holds at most 255 bytes, got {len(value)}") from None


def count_methods(frames: bytes) -> int:
    """Return how many of these complete frames are methods: as many as there are messages, if they send messages."""
    count = position = 0
    while position < len(frames):
        kind, _, length = FRAME_HEAD.unpack_from(frames, position)
        count += kind == METHOD
        position += length + 8
    return count


def content(channel: int, method: bytes, flags: int, properties: bytes, body: bytes, max_payload: int) -> Frames:
    """Return all frames of a message: the method, the content header, and as many body frames as needed.

    Args:
        channel: channel number.
        method: encoded method frame.
        flags: property flags: which properties are present.
        properties: encoded properties.
        body: message body.
        max_payload: maximum payload of one frame, in bytes.
    """
    size = len(body)
    header = CONTENT_HEADER.pack(HEADER, channel, 14 + len(properties), 60, 0, size, flags)
    if 0 < size <= max_payload and size < _COPIED:
        return b"".join((method, header, properties, NEXT_FRAME.pack(END, BODY, channel, size), body, b"\xce"))
    if not size:
        return b"".join((method, header, properties, b"\xce"))
    head = b"".join((method, header, properties, NEXT_FRAME.pack(END, BODY, channel, min(size, max_payload))))
    if size <= max_payload:
        return [head, body, b"\xce"]
    parts: list[bytes | memoryview] = [head]
    view = memoryview(body)  # a large body reaches the socket without being copied
    for start in range(0, size, max_payload):
        if start:
            parts.append(NEXT_FRAME.pack(END, BODY, channel, min(size - start, max_payload)))
        parts.append(view[start : start + max_payload])
    parts.append(b"\xce")
    return parts
