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

__all__ = ["UNMEASURED", "Cost", "has_many_claims", "json_cost", "msgpack_cost"]

UNMEASURED: Final = 256 * 1024
"""Bodies of up to this many bytes are decoded without being measured."""

_SMALL_RUN = re.compile(rb"[\x00-\x7f\xc0\xc2\xc3\xfb-\xff]++")
"""Integers from -5 to 127, None and booleans: objects that exist already."""
_DOUBLES = re.compile(rb"(?:\xcb.{8})++", re.DOTALL)
_JSON_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_NON_ASCII = re.compile(rb"[\x80-\xff]")
_FOUR_BYTES = re.compile(rb"[\xf0-\xf4]")

_NUMBER, _TEXT, _LIST, _SLOT, _DICT, _EXTENSION = 32, 72, 64, 8, 240, 1024
_ENTRY = 96
"""A dict grows by copying itself into one of twice the size."""
_CLAIMS = 64


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
        if size > longest:
            longest = size
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
        return _extension(data, start, size), 2 + width + size, 0
    if size := _EXTENSIONS.get(head, 0):
        return _extension(data, position + 1, size), 2 + size, 0
    raise SerializationError("the received bytes cannot be decoded as msgpack: a byte is reserved")


def _extension(data: memoryview, position: int, size: int) -> int:
    # An extension is made by a constructor in Python, which takes as long as 20 lists; timestamps are made in C.
    return 2 * _NUMBER if data[position : position + 1].tobytes() == b"\xff" else _EXTENSION + size


def has_many_claims(data: bytes | bytearray | memoryview) -> bool:
    """Tell whether so many arrays of MessagePack may state their length that room for all of them is worth a check.

    Some versions of msgpack make room for as many elements as an array states, before any arrives.
    """
    plain = bytes(data) if isinstance(data, memoryview) else data
    return plain.count(b"\xdc") + plain.count(b"\xdd") > _CLAIMS


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
    lists, dicts, commas, colons = map(plain.count, (b"[", b"{", b",", b":"))
    memory = texts + _structure(lists, dicts, colons, commas + lists)
    if memory > limit >= texts:
        plain = _JSON_STRING.sub(b"", plain)
        lists, dicts, commas, colons = map(plain.count, (b"[", b"{", b",", b":"))
        memory = texts + _structure(lists, dicts, colons, max(0, commas - colons + lists + dicts))
    return Cost(memory, size, complete=True, structure=memory - texts)


def _structure(lists: int, dicts: int, colons: int, elements: int) -> int:
    # Lists and dicts are charged with three times their size: the decoder cannot be interrupted, so this bounds time.
    return 3 * _LIST * lists + 320 * dicts + (30 + _LIST) * colons + (_LIST + 10) * elements
