from __future__ import annotations

import contextlib
import io
import os
import struct
import threading
import tracemalloc

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from rabibridge_core._codec.compression import MAGIC, MAX_WINDOW_SIZE, compress, decompress
from rabibridge_core.errors import ContentRejectedError, SerializationError

MIB = 1024 * 1024


def without_size(data: bytes) -> bytes:
    """Compress as a stream does, without the content size in the header."""
    return zstandard.ZstdCompressor(level=3, write_content_size=False).compress(data)


def zeros(size: int, *, with_size: bool) -> bytes:
    """Compress ``size`` zeros without ever holding them."""
    chunk = bytes(MIB)
    sink = io.BytesIO()
    compressor = zstandard.ZstdCompressor(level=3)
    with compressor.stream_writer(sink, size=size if with_size else -1, closefd=False) as writer:
        for _ in range(size // MIB):
            writer.write(chunk)
    return sink.getvalue()


@given(st.binary(max_size=5000), st.integers(1, 10))
def test_round_trip(data: bytes, times: int) -> None:
    data *= times
    frame = compress(data)
    assert frame[:4] == MAGIC
    assert decompress(frame, 50_000) == data
    assert decompress(without_size(data), 50_000) == data
    assert zstandard.ZstdDecompressor().decompress(frame) == data  # the way RabiBridge 0.1.2 reads it


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_any_buffer_is_taken(buffer: type[bytes]) -> None:
    data = b"abc" * 1000
    assert decompress(buffer(compress(buffer(data))), 3000) == data
    assert decompress(buffer(without_size(data)), 3000) == data


@pytest.mark.parametrize("size", [1, 127, 128 * 1024, MIB + 1, 5 * MIB])
def test_incompressible_data_of_any_size_comes_back(size: int) -> None:
    data = os.urandom(size)
    assert decompress(compress(data), size) == data
    assert decompress(without_size(data), size) == data


@pytest.mark.parametrize("level", [1, 3, 19])
def test_every_frame_states_its_content_size(level: int) -> None:
    assert zstandard.frame_content_size(compress(b"a" * 10_000, level)) == 10_000


@pytest.mark.parametrize("make", [compress, without_size])
def test_the_limit_is_exact(make: type[bytes]) -> None:
    frame = make(b"a" * 10_000)
    assert len(decompress(frame, 10_000)) == 10_000
    with pytest.raises(ContentRejectedError, match="larger than 9999 bytes"):
        decompress(frame, 9_999)


def test_a_header_of_10_gib_is_refused_before_anything_is_allocated() -> None:
    # Frame header: 8 bytes of content size, a window of 1 MiB; then one raw block of one byte, the last.
    frame = MAGIC + b"\xc0\x50" + struct.pack("<Q", 10 * 1024 * MIB) + b"\x09\x00\x00" + b"x"
    assert zstandard.frame_content_size(frame) == 10 * 1024 * MIB
    assert _peak_of_refusal(frame, 64 * MIB) < MIB


def test_a_header_that_states_less_than_the_limit_but_lies_is_corrupt() -> None:
    frame = MAGIC + b"\xc0\x50" + struct.pack("<Q", MIB) + b"\x09\x00\x00" + b"x"
    with pytest.raises(SerializationError):
        decompress(frame, 2 * MIB)


@pytest.mark.parametrize("with_size", [True, False])
def test_a_bomb_of_256_mib_is_given_up_near_the_limit(with_size: bool) -> None:
    bomb = zeros(256 * MIB, with_size=with_size)
    assert len(bomb) < 16 * 1024
    assert _peak_of_refusal(bomb, 4 * MIB) < 32 * MIB


def test_a_huge_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    frame = stream.compress(os.urandom(1000)) + stream.flush()
    assert zstandard.get_frame_parameters(frame).window_size > MAX_WINDOW_SIZE
    with pytest.raises(ContentRejectedError, match="window"):
        decompress(frame, 64 * MIB)


@pytest.mark.parametrize("make", [compress, without_size])
@pytest.mark.parametrize("content", [b"", b"a", b"abc" * 1000])
def test_truncated_frames_are_errors(make: type[bytes], content: bytes) -> None:
    frame = make(content)
    for end in range(len(frame)):
        with pytest.raises(SerializationError):
            decompress(frame[:end], MIB)


@pytest.mark.parametrize("make", [compress, without_size])
@pytest.mark.parametrize("size", [0, 1, 300, 1000])
@pytest.mark.parametrize("trailer", [b"x", bytes(500), compress(b"another frame"), without_size(b"another")])
def test_nothing_may_follow_the_frame(make: type[bytes], size: int, trailer: bytes) -> None:
    content = os.urandom(size)
    with pytest.raises(SerializationError):
        decompress(make(content) + trailer, MIB)


@given(st.data())
def test_no_bytes_raise_anything_else_or_pass_the_limit(data: st.DataObject) -> None:
    frame = bytearray(data.draw(st.sampled_from([compress(b"abc" * 1000), without_size(b"abc" * 1000), MAGIC])))
    for _ in range(data.draw(st.integers(0, 4))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    frame += data.draw(st.binary(max_size=20))
    with contextlib.suppress(SerializationError, ContentRejectedError):
        assert len(decompress(frame, 4000)) <= 4000


def test_threads_do_not_disturb_each_other() -> None:
    wrong: list[int] = []

    def work(seed: int) -> None:
        data = bytes([seed]) * 200_000 + os.urandom(50_000)
        for _ in range(20):
            if decompress(compress(data), 250_000) != data or decompress(without_size(data), 250_000) != data:
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def _peak_of_refusal(frame: bytes, limit: int) -> int:
    """Return the most bytes that were allocated while ``frame`` was being refused."""
    tracemalloc.start()
    try:
        with pytest.raises(ContentRejectedError, match="max_decompressed"):
            decompress(frame, limit)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
