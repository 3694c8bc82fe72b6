"""Splitting a byte stream into frames: any chunking, any garbage."""

from __future__ import annotations

import contextlib
import itertools
import struct
import time
from typing import cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rabibridge._amqp.frames import FrameError, FrameParser

_KINDS = (1, 2, 3, 8)

chunkings = st.lists(st.integers(1, 40), min_size=1, max_size=30)


def _raw(kind: int, channel: int, payload: bytes, end: bytes = b"\xce") -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


class _Handler:
    """Takes the frames it wants and records them."""

    def __init__(self, wanted: frozenset[int] = frozenset(_KINDS)) -> None:
        self.wanted = wanted
        self.taken: list[tuple[int, bytes]] = []

    def handle_frame(self, kind: int, data: bytes, start: int, end: int) -> bool:
        if kind not in self.wanted:
            return False
        self.taken.append((kind, data[start:end]))
        return True

    def handle_message(self, data: bytes, start: int, end: int, size: int) -> int:
        return 0


def _feed(parser: FrameParser, data: bytes, sizes: list[int]) -> bool:
    taken, position = False, 0
    for size in itertools.cycle(sizes):
        if position >= len(data):
            return taken
        taken |= parser.feed(data[position : position + size])
        position += size
    raise AssertionError


def _stream(contents: list[tuple[int, int, bytes]]) -> bytes:
    return b"".join(_raw(kind, channel, payload) for kind, channel, payload in contents)


streams = st.lists(st.tuples(st.sampled_from(_KINDS), st.integers(0, 4), st.binary(max_size=50)), max_size=20)


@given(streams, chunkings)
@example([(1, 1, b""), (3, 0, b"\xce" * 10)], [1])
def test_frames_in_any_chunking_reach_handlers_and_others_in_order(
    contents: list[tuple[int, int, bytes]], sizes: list[int]
) -> None:
    others: list[bytes] = []
    handlers = {1: _Handler(), 2: _Handler(frozenset({3}))}
    parser = FrameParser(handlers, others.append, 50)
    taken = _feed(parser, _stream(contents), sizes)
    expected_others = [
        _raw(kind, channel, payload)
        for kind, channel, payload in contents
        if channel not in handlers or kind not in handlers[channel].wanted
    ]
    assert others == expected_others
    for number, handler in handlers.items():
        assert handler.taken == [
            (k, payload) for k, channel, payload in contents if channel == number and k in handler.wanted
        ]
    assert taken == any(handler.taken for handler in handlers.values())


def test_handlers_may_come_and_go_between_frames() -> None:
    handlers: dict[int, _Handler] = {}

    class _Leaving(_Handler):
        def handle_frame(self, kind: int, data: bytes, start: int, end: int) -> bool:
            del handlers[1]
            return super().handle_frame(kind, data, start, end)

    leaving, others = _Leaving(), list[bytes]()
    handlers[1] = leaving
    FrameParser(handlers, others.append, 50).feed(_raw(1, 1, b"mine") + _raw(1, 1, b"not mine"))
    assert leaving.taken == [(1, b"mine")]
    assert others == [_raw(1, 1, b"not mine")]


def test_a_large_frame_byte_by_byte_takes_time_in_proportion_to_its_size() -> None:
    def seconds(size: int) -> float:
        others: list[bytes] = []
        parser = FrameParser({}, others.append, size)
        data = _raw(3, 1, b"x" * size)
        started = time.process_time()
        for position in range(len(data)):
            parser.feed(data[position : position + 1])
        assert others == [data]
        return time.process_time() - started

    small, large = min(seconds(2**14) for _ in range(3)), min(seconds(2**18) for _ in range(3))
    assert large < small * 16 * 4  # 16 times the bytes; copying all of them for each would take 256 times as long


def test_a_frame_of_the_agreed_size_and_one_above_it() -> None:
    others: list[bytes] = []
    parser = FrameParser({}, others.append, 100)
    parser.feed(_raw(3, 1, b"x" * 100))
    assert others == [_raw(3, 1, b"x" * 100)]
    with pytest.raises(FrameError, match="101 bytes"):
        parser.feed(_raw(3, 1, b"x" * 101))


@pytest.mark.parametrize("length", [101, 2**16, 2**32 - 1])
def test_an_oversized_frame_is_refused_by_its_header_alone(length: int) -> None:
    for handlers in ({}, {1: _Handler()}):
        with pytest.raises(FrameError, match=f"{length} bytes"):
            FrameParser(handlers, lambda frame: None, 100).feed(struct.pack(">BHI", 3, 1, length))


@pytest.mark.parametrize("kind", [0, 4, 7, 9, 65, 255])
def test_an_unknown_frame_type_is_refused_as_soon_as_it_shows(kind: int) -> None:
    with pytest.raises(FrameError, match=f"type {kind}"):
        FrameParser({}, lambda frame: None, 100).feed(_raw(kind, 1, b"x"))
    with pytest.raises(FrameError, match=f"type {kind}"):
        FrameParser({}, lambda frame: None, 100).feed(struct.pack(">BHI", kind, 1, 50))


@pytest.mark.parametrize("end", [b"\x00", b"\xcd", b"\xff"])
def test_a_wrong_end_byte_is_refused(end: bytes) -> None:
    for handlers in ({}, {1: _Handler()}):
        with pytest.raises(FrameError, match="does not end"):
            FrameParser(handlers, lambda frame: None, 100).feed(_raw(1, 1, b"abc", end))


def test_a_truncated_frame_is_waited_for() -> None:
    others: list[bytes] = []
    parser = FrameParser({}, others.append, 100)
    whole = _raw(1, 0, b"abcdef")
    parser.feed(whole[:-1])
    assert others == []
    parser.feed(whole[-1:])
    assert others == [whole]


@given(st.lists(st.binary(min_size=1, max_size=60), max_size=10))
def test_random_bytes_are_frames_or_a_frame_error(chunks: list[bytes]) -> None:
    others: list[bytes] = []
    parser = FrameParser({0: _Handler(), 1: _Handler()}, others.append, 1000)
    with contextlib.suppress(FrameError):
        for chunk in chunks:
            parser.feed(chunk)
    for frame in others:
        assert frame[-1] == 0xCE
        assert len(frame) == 8 + struct.unpack_from(">I", frame, 3)[0]


@given(streams.filter(bool), st.data())
def test_one_flipped_byte_is_survived_or_a_frame_error(
    contents: list[tuple[int, int, bytes]], data: st.DataObject
) -> None:
    stream = bytearray(_stream(contents))
    position = data.draw(st.integers(0, len(stream) - 1))
    stream[position] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(FrameError):
        FrameParser({1: _Handler()}, lambda frame: None, 50).feed(bytes(stream))


def test_a_handler_that_finds_its_payload_too_short_ends_in_a_frame_error() -> None:
    class _Careless(_Handler):
        def handle_frame(self, kind: int, data: bytes, start: int, end: int) -> bool:
            return cast("bool", data[start + 10_000])

    with pytest.raises(FrameError, match="truncated"):
        FrameParser({1: _Careless()}, lambda frame: None, 50).feed(_raw(1, 1, b"x"))


@given(
    st.lists(st.integers(1, 60_000), min_size=1, max_size=6), st.lists(st.integers(1, 100_000), min_size=1, max_size=4)
)
@example([20_000, 5, 20_000], [10_000, 100_000])
@example([5, 20_000, 20_000], [3, 100_000])
def test_long_frames_in_any_chunking(lengths: list[int], sizes: list[int]) -> None:
    handler = _Handler()
    parser = FrameParser({1: handler}, lambda _: None, 60_000)
    contents = [(3, bytes([number]) * length) for number, length in enumerate(lengths)]
    _feed(parser, b"".join(_raw(kind, 1, payload) for kind, payload in contents), sizes)
    assert handler.taken == contents
