"""What a worker and its child processes send each other: frames of a map and a body, as pure functions over bytes.

A frame is the sizes of both (4 and 8 bytes), the map as msgpack, and the body, which is passed on as it is.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from rabibridge_core._codec.msgpack_serializer import MsgpackSerializer

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HEADER_SIZE", "FrameReceiver", "MalformedFrameError", "pack", "unpack", "unpack_sizes"]

HEADER_SIZE: Final = 12
_SIZES = struct.Struct(">IQ")
_FIELDS_MAX = 64 * 1024 * 1024
_BODY_MAX = 2**40
_serializer = MsgpackSerializer()


class MalformedFrameError(Exception):
    """What was received is no frame."""


def pack(fields: dict[str, Any], body_size: int) -> bytes:
    """Return what precedes the body of a frame.

    Raises:
        SerializationError: msgpack cannot represent the fields.
    """
    encoded = _serializer.dumps(fields)
    return _SIZES.pack(len(encoded), body_size) + encoded


def unpack_sizes(header: bytes | bytearray | memoryview) -> tuple[int, int]:
    """Return the sizes of fields and body.

    Raises:
        MalformedFrameError: no frame is as large as that.
    """
    fields_size, body_size = _SIZES.unpack(header)
    if fields_size > _FIELDS_MAX or body_size > _BODY_MAX:
        raise MalformedFrameError(f"a frame of {fields_size} and {body_size} bytes")
    return fields_size, body_size


def unpack(payload: memoryview, fields_size: int) -> tuple[dict[str, Any], bytes]:
    """Return the fields and the body of a frame.

    Raises:
        MalformedFrameError: the fields cannot be read.
    """
    try:
        fields = _serializer.loads(payload[:fields_size])
    except Exception as error:
        raise MalformedFrameError(f"fields that cannot be read: {error}") from error
    if not isinstance(fields, dict):
        raise MalformedFrameError("a frame without fields")
    return fields, bytes(payload[fields_size:])


class FrameReceiver:
    """Puts frames together from what arrives. A large body is received into the memory that it stays in."""

    __slots__ = ("_buffer", "_fields_size", "_filled", "_received")

    def __init__(self, received: Callable[[dict[str, Any], bytes], None]) -> None:
        """Call ``received`` with each frame."""
        self._received = received
        self._fields_size = -1
        """The size of the fields; -1 while the header is received."""
        self._filled = 0
        self._buffer = memoryview(bytearray(HEADER_SIZE))

    def space(self) -> memoryview:
        """Return where to write the next bytes."""
        return self._buffer[self._filled :]

    def written(self, size: int) -> None:
        """Called when so many bytes were written.

        Raises:
            MalformedFrameError: they are not part of a frame.
        """
        self._filled += size
        if self._filled < len(self._buffer):
            return
        buffer, fields_size = self._buffer, self._fields_size
        self._filled = 0
        if fields_size < 0:
            self._fields_size, body_size = unpack_sizes(buffer)
            try:
                self._buffer = memoryview(bytearray(self._fields_size + body_size))
            except MemoryError as error:
                raise MalformedFrameError(f"there is no memory for a frame of {body_size} bytes") from error
            return
        self._fields_size = -1
        self._buffer = memoryview(bytearray(HEADER_SIZE))
        self._received(*unpack(buffer, fields_size))
