"""The serializer msgpack, the default."""

from __future__ import annotations

import re
from typing import Any

from msgpack import OutOfData, Packer, Unpacker, unpackb  # type: ignore[import-untyped]  # it ships no types

from rabibridge_core._codec.decoding_cost import has_many_claims
from rabibridge_core._codec.failures import undecodable, unencodable
from rabibridge_core._codec.value_checks import check_any_key, check_instant, check_text_keys, check_values, is_plain
from rabibridge_core.errors import SerializationError

__all__ = ["AnyKeysMsgpackSerializer", "MsgpackSerializer"]

# The packer doubles its buffer when needed; a small one avoids allocating the default of 256 KiB.
_BUFFER = 1024
_KEPT = 64 * 1024
"""A packer that has encoded a larger body is not used again, because its buffer stays as large."""
_UNCHECKED_CLAIMS = 4096
_STEP = 256 * 1024
_TEXT_KEYS = frozenset({str, bytes})

# Values are looked at only where the encoded bytes may hold a map, a byte string or a time; most have no such byte.
_SUSPECTS = rb"[\x81-\x8f\xc4-\xc7\xd6\xd7\xde\xdf]"
_find_suspect = re.compile(_SUSPECTS).search
_HARMLESS = re.sub(_SUSPECTS, b"", bytes([*range(97, 123), *range(97), *range(123, 256)]))
"""The frequent bytes come first, since each byte of a short body is looked up in it."""
_SHORT = 64
_MAP_OF_ONE = 0x81


def _is_suspect(packed: bytes) -> bool:
    if len(packed) > _SHORT:
        return _find_suspect(packed) is not None
    rest = packed.lstrip(_HARMLESS)
    if len(rest) > 1 and rest[0] == _MAP_OF_ONE and rest[1] & 0xE0 == 0xA0:  # its key is a short text, as in kwargs
        rest = rest[1:].lstrip(_HARMLESS)
    return bool(rest)


class MsgpackSerializer:
    """MessagePack: compact, fast, available in every language; the default.

    Tuples are decoded as lists. Map keys are str or bytes. Datetimes with a time zone are encoded as MessagePack
    timestamps and decoded in UTC; naive ones are refused, and so is every value that would not be decoded as what it
    was.
    """

    name = "msgpack"
    content_type = "application/msgpack"
    trusted_only = False

    def __init__(self) -> None:
        """Start without a packer."""
        self._packers: list[Packer] = []

    def dumps(self, value: object) -> bytes:
        """Encode ``value``; see :meth:`~rabibridge_core._codec.serializers.Serializer.dumps`."""
        try:
            # Nobody else has a packer that was taken from the list: list operations are atomic.
            packer = self._packers.pop()
        except IndexError:
            packer = Packer(datetime=True, buf_size=_BUFFER)
        try:
            packed: bytes = packer.pack(value)
            if (len(packed) > _SHORT or packed.lstrip(_HARMLESS)) and _is_suspect(packed) and not is_plain(value):
                self._check(value)
        except (SerializationError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise unencodable(self.name, value, error) from error
        if len(packed) <= _KEPT:
            self._packers.append(packer)
        return packed

    def loads(self, data: bytes | bytearray | memoryview) -> Any:
        """Decode ``data``; see :meth:`~rabibridge_core._codec.serializers.Serializer.loads`."""
        try:
            if len(data) > _UNCHECKED_CLAIMS and has_many_claims(data):
                _skip(data)
            # timestamp=3 decodes to datetimes. msgpack's own Timestamp would open an attack: a sender can choose any
            # number of them with the same hash, and a map with such keys takes hours to build.
            return unpackb(data, timestamp=3)
        except Exception as error:
            raise undecodable(self.name, error) from error

    def loads_in_steps(self, data: bytes | bytearray | memoryview) -> Any:
        """Decode ``data`` in steps of a few milliseconds, between which other threads run."""
        view = memoryview(data)
        unpacker = Unpacker(timestamp=3, max_buffer_size=max(len(view), 1))
        try:
            for start in range(0, len(view), _STEP):
                unpacker.feed(view[start : start + _STEP])
                try:
                    value = unpacker.unpack()
                except OutOfData:
                    continue
                if unpacker.tell() != len(view):
                    raise ValueError("extra data")
                return value
            raise ValueError("incomplete")
        except SerializationError:
            raise
        except Exception as error:
            raise undecodable(self.name, error) from error

    def _check(self, value: object) -> None:
        check_values(value, _TEXT_KEYS, check_text_keys, check_instant)


class AnyKeysMsgpackSerializer(MsgpackSerializer):
    """MessagePack with map keys of any type that can be encoded; tuples in keys stay tuples.

    Python's hashes of numbers are predictable: whoever sends to a reader that accepts such keys can make it compute for
    minutes.
    """

    def loads(self, data: bytes | bytearray | memoryview) -> Any:
        """Decode ``data``; see :meth:`~rabibridge_core._codec.serializers.Serializer.loads`."""
        try:
            if len(data) > _UNCHECKED_CLAIMS and has_many_claims(data):
                _skip(data)
            return _unpack_any_keys(data)
        except Exception as error:
            raise undecodable(self.name, error) from error

    def loads_in_steps(self, data: bytes | bytearray | memoryview) -> Any:
        """Decode ``data`` in one step."""
        return self.loads(data)

    def _check(self, value: object) -> None:
        check_values(value, _TEXT_KEYS, check_any_key, check_instant)


def _skip(data: bytes | bytearray | memoryview) -> None:
    """Raise an error for arrays that are longer than the body, without making any."""
    unpacker = Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    unpacker.skip()


def _unpack_any_keys(data: bytes | bytearray | memoryview) -> Any:
    try:
        return unpackb(data, strict_map_key=False, timestamp=3)
    except TypeError:  # a list as a key, which is not hashable
        return unpackb(data, strict_map_key=False, timestamp=3, object_pairs_hook=_with_tuple_keys)


def _with_tuple_keys(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    return {_as_tuple(key): value for key, value in pairs}


def _as_tuple(key: Any) -> Any:
    return tuple(map(_as_tuple, key)) if isinstance(key, list) else key
