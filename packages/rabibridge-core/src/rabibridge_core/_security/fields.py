"""The one encoding of several fields as bytes, for what is signed and for what is encrypted.

The length of each field precedes it, so that moving bytes from one field to the next changes the encoding; and the type
of a header precedes its value, so that ``1``, ``True``, ``1.0`` and ``"1"`` differ.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_core.transport import Headers, HeaderValue

__all__ = [
    "ABSENT",
    "MARKS",
    "FieldsError",
    "bytes_field",
    "decode_headers",
    "encode_headers",
    "join",
    "split",
    "text_field",
    "text_of",
]

_LENGTH: Final = struct.Struct(">Q")
_DOUBLE: Final = struct.Struct(">d")
ABSENT: Final = b"-"
"""A field that is missing."""
_PRESENT: Final = b"+"


class _Marks(dict[int, bytes]):
    """What stands before a present field, by its size; those of large ones are made when they are needed."""

    def __missing__(self, size: int) -> bytes:
        return _PRESENT + _LENGTH.pack(size)


MARKS: Final = _Marks((size, _PRESENT + _LENGTH.pack(size)) for size in range(1024))
"""What stands before a field of so many bytes."""


class FieldsError(ValueError):
    """Bytes that :func:`join` or :func:`encode_headers` has not made, or headers that cannot be encoded."""


def bytes_field(field: bytes | None) -> bytes:
    """Return one field; ``None`` differs from an empty one."""
    return ABSENT if field is None else MARKS[len(field)] + field


@lru_cache(maxsize=1024)
def text_field(text: str | None) -> bytes:
    """Return one field of a text that comes again and again."""
    return bytes_field(None if text is None else text.encode("utf-8", "surrogatepass"))


def text_of(field: bytes | None) -> str | None:
    """Return the text that :func:`text_field` was given."""
    return None if field is None else field.decode("utf-8", "surrogatepass")


def join(*fields: bytes | None) -> bytes:
    """Return the fields as one value."""
    return b"".join([bytes_field(field) for field in fields])


def split(joined: bytes) -> list[bytes | None]:
    """Return the fields that :func:`join` was given.

    Raises:
        FieldsError: it has not made these bytes.
    """
    return list(_split(joined))


def _split(joined: bytes) -> Iterator[bytes | None]:
    position = 0
    while position < len(joined):
        mark, position = joined[position : position + 1], position + 1
        if mark == ABSENT:
            yield None
            continue
        start = position + _LENGTH.size
        if mark != _PRESENT or start > len(joined):
            raise FieldsError
        (size,) = _LENGTH.unpack(joined[position:start])
        position = start + size
        if position > len(joined):
            raise FieldsError
        yield joined[start:position]


def encode_headers(headers: Headers) -> bytes:
    """Return headers as bytes: the same whatever their order, and different for every difference.

    Raises:
        FieldsError: a value has a type that no sender of ours sends, such as a list.
    """
    if not headers:
        return b""
    fields: list[bytes] = []
    for name in sorted(headers):
        fields += name.encode("utf-8", "surrogatepass"), _encode_value(headers[name])
    return join(*fields)


def decode_headers(encoded: bytes) -> dict[str, HeaderValue]:
    """Return the headers that :func:`encode_headers` was given.

    Raises:
        FieldsError: it has not made these bytes.
    """
    fields = split(encoded)
    if len(fields) % 2:
        raise FieldsError
    headers: dict[str, HeaderValue] = {}
    for name, value in zip(fields[::2], fields[1::2], strict=True):
        if name is None or not value:
            raise FieldsError
        try:
            headers[name.decode("utf-8", "surrogatepass")] = _decode_value(value[:1], value[1:])
        except (ValueError, KeyError, struct.error) as error:
            raise FieldsError from error
    return headers


def _encode_value(value: HeaderValue) -> bytes:
    if isinstance(value, bool):
        return b"t" if value else b"f"
    if isinstance(value, int):
        return b"i%d" % value
    if isinstance(value, float):
        return b"d" + _DOUBLE.pack(value)
    if isinstance(value, str):
        return b"s" + value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return b"x" + value
    raise FieldsError(f"a value of type {type(value).__name__}")


def _decode_value(kind: bytes, value: bytes) -> HeaderValue:
    if kind == b"s":
        return value.decode("utf-8", "surrogatepass")
    if kind == b"x":
        return value
    if kind == b"i":
        return int(value[:20])
    if kind == b"d":
        number: float = _DOUBLE.unpack(value)[0]
        return number
    return {b"t": True, b"f": False}[kind]
