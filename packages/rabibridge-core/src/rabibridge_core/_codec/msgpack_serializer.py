"""The serializer msgpack, the default."""

from __future__ import annotations

import functools
import re
from typing import Any, Final

from msgpack import ExtType, OutOfData, Packer, Unpacker, unpackb  # type: ignore[import-untyped]  # it ships no types
from msgpack.exceptions import StackError  # type: ignore[import-untyped]

from rabibridge_core._codec.decoding_cost import EXTENSION_TYPE, has_many_claims
from rabibridge_core._codec.failures import MalformedValueError, undecodable, unencodable
from rabibridge_core._codec.objects import lowered
from rabibridge_core._codec.tagged_values import TEXTS, Tagged, restored, tag_integer
from rabibridge_core._codec.value_checks import check_any_key, check_instant, check_text_keys, check_values, is_plain
from rabibridge_core.errors import SerializationError

__all__ = ["AnyKeysMsgpackSerializer", "MsgpackSerializer"]

# The packer doubles its buffer when needed; a small one avoids allocating the default of 256 KiB.
_BUFFER = 1024
_KEPT = 128 * 1024
"""A packer that has encoded a larger body is not used again, because its buffer stays as large. To make one of this
size takes ten times as long as to fill it."""
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

# The first byte of an extension says what it is. A later version may add kinds; none ever changes its meaning.
_KINDS: Final = {
    "datetime": 1,
    "date": 2,
    "time": 3,
    "timedelta": 4,
    "uuid": 5,
    "decimal": 6,
    "set": 7,
    "frozenset": 8,
    "complex": 9,
    "int": 10,
    "ndarray": 11,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}
_DEEPEST = 16
"""So many sets may be in each other: the bytes of each are copied out of those around it."""
_INTEGERS = range(-(2**63), 2**64)


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
    timestamps and decoded in UTC. What MessagePack lacks, such as dates and sets, is an extension of type 82. Every
    value that would not be decoded as what it was is refused.
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
            packer = Packer(datetime=True, default=self._default, buf_size=_BUFFER)
        try:
            packed: bytes = packer.pack(value)
            if (len(packed) > _SHORT or packed.lstrip(_HARMLESS)) and _is_suspect(packed) and not is_plain(value):
                self._check(value)
        except (SerializationError, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise _too_deep(value, error) or unencodable(self.name, value, error) from error
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
            return _unpacked(data, timestamp=3, ext_hook=_restored)
        except Exception as error:
            raise undecodable(self.name, error) from error

    def loads_in_steps(self, data: bytes | bytearray | memoryview) -> Any:
        """Decode ``data`` in steps of a few milliseconds, between which other threads run."""
        view = memoryview(data)
        unpacker = Unpacker(timestamp=3, ext_hook=_restored, max_buffer_size=max(len(view), 1))
        try:
            for start in range(0, len(view), _STEP):
                unpacker.feed(view[start : start + _STEP])
                try:
                    value = unpacker.unpack()
                except OutOfData:
                    continue
                except StackError:
                    return self.loads(data)
                if unpacker.tell() != len(view):
                    raise ValueError("extra data")
                return value
            raise ValueError("incomplete")
        except SerializationError:
            raise
        except Exception as error:
            raise undecodable(self.name, error) from error

    def _default(self, value: Any, depth: int = 0) -> object:
        """Return what is packed in place of a value that MessagePack lacks; the value itself: nothing is."""
        found = lowered(value)
        if isinstance(found, int) and found not in _INTEGERS:
            found = tag_integer(found)
        if isinstance(found, Tagged):
            return ExtType(EXTENSION_TYPE, bytes((_KINDS[found.name],)) + self._payload(found, depth))
        if found is not value:
            self._check(found)
        return found

    def _payload(self, found: Tagged, depth: int) -> bytes:
        if found.name in TEXTS:
            return str.encode(found.payload)
        if depth == _DEEPEST:
            raise SerializationError(f"msgpack cannot encode sets that are nested more than {_DEEPEST} deep")
        packer = Packer(datetime=True, default=functools.partial(self._default, depth=depth + 1), buf_size=_BUFFER)
        packed: bytes = packer.pack(found.payload)
        self._check(found.payload)
        return packed

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


def _too_deep(value: object, error: BaseException) -> SerializationError | None:
    """Return the error of a value that the packer has refused because of its depth; ``None``: it was another reason."""
    if not (isinstance(error, ValueError) and "recursion limit" in str(error)):
        return None
    return SerializationError(
        f"msgpack cannot encode a value of type {type(value).__qualname__}: it is nested more than {_most_levels():,} "
        "levels deep, or contains itself"
    )


@functools.cache
def _most_levels() -> int:
    """Return how many levels of lists the packer accepts, which depends on its version."""
    levels, value = 0, list[Any]([None])
    while True:
        try:
            Packer().pack(value)
        except ValueError:
            return levels
        levels, value = levels + 1, [value]


def _fed(data: bytes | bytearray | memoryview, **options: Any) -> Unpacker:
    unpacker = Unpacker(max_buffer_size=max(len(data), 1), **options)
    unpacker.feed(data)
    return unpacker


def _unpacked(data: bytes | bytearray | memoryview, **options: Any) -> Any:
    """Decode as ``unpackb`` does, and one level deeper: the packer accepts an empty container there."""
    try:
        return unpackb(data, **options)
    except StackError:
        unpacker = _fed(data, **options)
        is_map, count = _outermost(unpacker)
        members = [unpacker.unpack() for _ in range(count)]
        if unpacker.tell() != len(data):
            raise
    if is_map:
        pairs = zip(members[::2], members[1::2], strict=True)
        return options.get("object_pairs_hook", dict)(list(pairs))
    return members if options.get("use_list", True) else tuple(members)


def _skip(data: bytes | bytearray | memoryview) -> None:
    """Raise an error for arrays that are longer than the body, without making any."""
    try:
        _fed(data).skip()
    except StackError:
        unpacker = _fed(data)
        for _ in range(_outermost(unpacker)[1]):
            unpacker.skip()


def _outermost(unpacker: Unpacker) -> tuple[bool, int]:
    """Read the first header: whether it is that of a map, and how many members follow."""
    try:
        return True, 2 * unpacker.read_map_header()
    except ValueError:  # it is no map
        return False, unpacker.read_array_header()


def _unpack_any_keys(data: bytes | bytearray | memoryview) -> Any:
    try:
        return _unpacked(data, strict_map_key=False, timestamp=3, ext_hook=_restored)
    except TypeError:  # a list as a key, which is not hashable
        return _unpacked(
            data, strict_map_key=False, timestamp=3, ext_hook=_restored, object_pairs_hook=_with_tuple_keys
        )


def _with_tuple_keys(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    return {_as_tuple(key): value for key, value in pairs}


def _as_tuple(key: Any) -> Any:
    return tuple(map(_as_tuple, key)) if isinstance(key, list) else key


def _restore(depth: int, code: int, data: bytes) -> Any:
    """Return the value of an extension that is in so many sets."""
    if code != EXTENSION_TYPE:
        return ExtType(code, data)
    name = _NAMES.get(data[0], "") if data else ""
    if name in TEXTS:
        try:
            return restored(name, str(memoryview(data)[1:], "utf-8"))
        except UnicodeDecodeError as error:
            raise MalformedValueError(f"a {name} in it is malformed") from error
    if name and depth == _DEEPEST:
        raise MalformedValueError(f"sets in it are nested more than {_DEEPEST} deep")
    try:
        payload = _unpack_list(memoryview(data)[1:], _HOOKS[depth + 1]) if name else ()
    except MalformedValueError:
        raise
    except Exception as error:
        raise MalformedValueError(f"a {name} in it is malformed") from error
    return restored(name, payload)


_HOOKS = [functools.partial(_restore, depth) for depth in range(_DEEPEST + 1)]
_restored = _HOOKS[0]


def _unpack_list(data: memoryview, hook: Any) -> Any:
    """Return the list in an extension, with lists in it as tuples: step by step if it is long, so that others run."""
    if len(data) > _UNCHECKED_CLAIMS and has_many_claims(data):
        _skip(data)
    if len(data) <= _STEP:
        return _unpacked(data, timestamp=3, use_list=False, ext_hook=hook)
    unpacker = _fed(data, timestamp=3, use_list=False, ext_hook=hook)
    members = [unpacker.unpack() for _ in range(unpacker.read_array_header())]
    if unpacker.tell() != len(data):
        raise ValueError("extra data")
    return tuple(members)
