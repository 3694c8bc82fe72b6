"""Estimates how much memory decoding a body takes, before any of its values are made.

A few bytes can stand for large objects: an empty list is one byte of MessagePack and 64 bytes in memory, and zstd packs
a million of them into fewer than a hundred bytes. Limits on sizes in bytes do not hold that back, so bodies of more
than :data:`UNMEASURED` bytes are measured: every object is charged with what CPython needs for it, in the worst case.
Bodies of up to :data:`UNMEASURED` bytes cannot take more than 32 MiB, whatever they hold, and are not measured.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from rabibridge_core.errors import SerializationError

__all__ = ["EXTENSION_TYPE", "UNMEASURED", "Cost", "has_many_claims", "is_few_tokens", "json_cost", "msgpack_cost"]

UNMEASURED: Final = 256 * 1024
"""Bodies of up to this many bytes are decoded without being measured."""

EXTENSION_TYPE: Final = 82
"""The type of the extensions of MessagePack that hold the values which it lacks."""

_SMALL_RUN = re.compile(rb"[\x00-\x7f\xc0\xc2\xc3\xfb-\xff]++")
"""Integers from -5 to 127, None and booleans: objects that exist already."""
_DOUBLES = re.compile(rb"(?:\xcb.{8})++", re.DOTALL)
_JSON_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NON_ASCII = re.compile(rb"[\x80-\xff]")
_FOUR_BYTES = re.compile(rb"[\xf0-\xf4]")

_NUMBER, _TEXT, _LIST, _SLOT, _DICT, _EXTENSION = 32, 72, 64, 8, 240, 1024
_ENTRY = 96
"""A dict grows by copying itself into one of twice the size."""
_MEMBER = 160
"""A set makes room for up to eight times its members, and the hash of each is an integer for a while."""
_CLAIMS = 64
_FEW = 20
"""So many tokens are looked at one by one: that takes a few microseconds, and so many claims are no danger."""
_TAG = b'"$rb"'


class Cost(NamedTuple):
    """What a body costs.

    Attributes:
        memory: bytes that its values take at most. A body over the limit is not measured to its end.
        longest: size of the longest text or byte string in it, in bytes.
        complete: whether the whole body was measured.
        structure: the part of the memory that is not for texts, if the body is measured as a whole.
    """

    memory: int
    longest: int
    complete: bool
    structure: int = 0


def _fixed_tokens() -> tuple[list[int], list[int]]:
    """Return size and cost of each token of MessagePack by its first byte; size 0: it must be looked at."""
    sizes, costs = [0] * 256, [0] * 256
    for head in (*range(0xCA, 0xD4), *range(0xE0, 0xFB)):
        sizes[head], costs[head] = 1, _NUMBER
    for head, payload in zip(range(0xCA, 0xD4), (4, 8, 1, 2, 4, 8, 1, 2, 4, 8), strict=True):
        sizes[head] += payload
    costs[0xCF] = costs[0xD3] = _NUMBER + 16  # integers of more than 60 bits
    for count in range(16):
        sizes[0x80 + count] = sizes[0x90 + count] = 1
        costs[0x80 + count] = 72 if not count else _DICT if count <= 5 else _DICT + 60 * (count - 3)
        costs[0x90 + count] = _LIST + _SLOT * count
    for length in range(8):
        sizes[0xA0 + length], costs[0xA0 + length] = 1 + length, _TEXT + 16
    return sizes, costs


_SIZES, _COSTS = _fixed_tokens()
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_COUNTS = {0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
_EXTENSIONS = {0xD4: 1, 0xD5: 2, 0xD6: 4, 0xD7: 8, 0xD8: 16}
_EXTENSION_HEADS = frozenset({0xC7, 0xC8, 0xC9, *_EXTENSIONS})
SETS: Final = frozenset({bytes((EXTENSION_TYPE, kind)) for kind in (7, 8)})
"""The first bytes of the extensions that hold a set or a frozenset."""


def text_cost(text: bytes | memoryview) -> int:
    """Return the memory that decoding UTF-8 takes at its peak: CPython widens all characters to the widest one."""
    size = len(text)
    if size <= 64:
        return _TEXT + (size if bytes(text).isascii() else 4 * size)
    if not _NON_ASCII.search(text):
        return _TEXT + size
    return _TEXT + (6 if _FOUR_BYTES.search(text) else 3) * size


def msgpack_cost(data: bytes | bytearray | memoryview, limit: int, tokens: int | None = None) -> Cost:
    """Measure a body of MessagePack.

    Args:
        data: the body, decompressed.
        limit: memory after which measuring ends, in bytes.
        tokens: number of tokens after which measuring ends; ``None``: no limit.

    Raises:
        SerializationError: a length or a number of elements exceeds the body.
    """
    sizes, costs, view = _SIZES, _COSTS, memoryview(data)
    position, end, memory, longest = 0, len(data), 0, 0
    left = tokens if tokens is not None else end
    while position < end and memory <= limit and left > 0:
        left -= 1
        head = data[position]
        if size := sizes[head]:
            memory += costs[head]
            position += size
            if head == 0xCB and (doubles := _DOUBLES.match(data, position)):
                memory += (doubles.end() - position) // 9 * _NUMBER
                position = doubles.end()
            continue
        if run := _SMALL_RUN.match(data, position):
            position = run.end()
            continue
        cost, size, length = _variable(head, view, position)
        if position + size > end or length > end - position:
            raise SerializationError("the received bytes cannot be decoded as msgpack: they end too early")
        memory += cost
        longest = max(longest, size, length if head in _EXTENSION_HEADS else 0)
        position += size
    return Cost(memory, longest, position >= end)


def _variable(head: int, data: memoryview, position: int) -> tuple[int, int, int]:
    """Return the cost of the token at a position, its size, and the number of its elements."""
    if 0xA8 <= head <= 0xBF:
        size = head - 0xA0
        return text_cost(data[position + 1 : position + 1 + size]), 1 + size, 0
    if width := _COUNTS.get(head):
        count = int.from_bytes(data[position + 1 : position + 1 + width], "big")
        cost = _LIST + _SLOT * count if head < 0xDE else _DICT + _ENTRY * count
        return cost, 1 + width, count
    if width := _LENGTHS.get(head):
        size = int.from_bytes(data[position + 1 : position + 1 + width], "big")
        start = position + 1 + width
        if head >= 0xD9:
            return text_cost(data[start : start + size]), 1 + width + size, 0
        if head <= 0xC6:
            return _NUMBER + 16 + size, 1 + width + size, 0
        return _extension(data, position, start, size)
    if size := _EXTENSIONS.get(head, 0):
        return _extension(data, position, position + 1, size)
    raise SerializationError("the received bytes cannot be decoded as msgpack: a byte is reserved")


def _extension(data: memoryview, head: int, start: int, size: int) -> tuple[int, int, int]:
    """Return what :func:`_variable` does of an extension with its head and its type at these positions."""
    kind = data[start : start + 2].tobytes()
    if kind in SETS:  # its members are measured like all others: they are not skipped
        end = start + 2 + min(5, size - 1)
        return _EXTENSION + 2 * size + _MEMBER * _count(data[start + 2 : end].tobytes()), start + 2 - head, size + 1
    # An extension is made by a constructor in Python, which takes as long as 20 lists; timestamps are made in C. The
    # bytes of an array are copied twice.
    cost = 2 * _NUMBER if kind[:1] == b"\xff" else _EXTENSION + 3 * size
    return cost, start + 1 + size - head, 0


def _count(head: bytes) -> int:
    """Return the number of elements of an array that begins with these bytes."""
    if head[:1] == b"\xdc":
        return int.from_bytes(head[1:3], "big")
    if head[:1] == b"\xdd":
        return int.from_bytes(head[1:5], "big")
    return 15


def has_many_claims(data: bytes | bytearray | memoryview) -> bool:
    """Tell whether so many arrays of MessagePack may state their length that room for all of them is worth a check.

    Some versions of msgpack make room for as many elements as an array states, before any arrives.
    """
    if is_few_tokens(data):
        return False
    plain = bytes(data) if isinstance(data, memoryview) else data
    return plain.count(b"\xdc") + plain.count(b"\xdd") > _CLAIMS


def is_few_tokens(data: bytes | bytearray | memoryview) -> bool:
    """Tell whether a body of MessagePack consists of a few values and containers only, however long each of them is.

    So do most large bodies: a byte string, a text or an array, and what is around it. They are not read to tell this.
    What is in an extension is not looked at.
    """
    sizes, position, end = _SIZES, 0, len(data)
    for _ in range(_FEW):
        if position >= end:
            break
        head = data[position]
        size = sizes[head]
        if not size:
            size = 1
            if width := _LENGTHS.get(head) or _COUNTS.get(head):
                size += width
                if head in _LENGTHS:
                    size += int.from_bytes(data[position + 1 : position + size], "big") + (head in _EXTENSION_HEADS)
            elif 0xA8 <= head <= 0xBF:
                size += head - 0xA0
            elif head in _EXTENSIONS:
                size += 1 + _EXTENSIONS[head]
        position += size
    return position == end


def json_cost(data: bytes | bytearray | memoryview, limit: int) -> Cost:
    """Measure a body of JSON: its text, which is decoded as a whole, and its values.

    Args:
        data: the body, decompressed.
        limit: memory that the body may take, in bytes; below it, an estimate that is too high is good enough.
    """
    size = len(data)
    plain = bytes(data) if isinstance(data, memoryview) else data
    if plain.isascii():
        texts = 2 * size
    elif _FOUR_BYTES.search(plain):
        texts = 8 * size
    else:
        texts = 4 * size
    element = _LIST + 10
    if _TAG in plain:  # texts may stand for bytes and arrays, and lists for sets
        texts, element = texts + 2 * size, element + _MEMBER
    lists, dicts, commas, colons = map(plain.count, (b"[", b"{", b",", b":"))
    memory = texts + _structure(lists, dicts, colons, element * (commas + lists))
    if memory > limit >= texts:
        plain = _JSON_STRING.sub(b"", plain)
        lists, dicts, commas, colons = map(plain.count, (b"[", b"{", b",", b":"))
        memory = texts + _structure(lists, dicts, colons, element * max(0, commas - colons + lists + dicts))
    return Cost(memory, size, complete=True, structure=memory - texts)


def _structure(lists: int, dicts: int, colons: int, elements: int) -> int:
    # Lists and dicts are charged with three times their size: the decoder cannot be interrupted, so this bounds time.
    return 3 * _LIST * lists + 320 * dicts + (30 + _LIST) * colons + elements
