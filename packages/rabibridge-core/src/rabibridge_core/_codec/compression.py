"""Compresses bodies with zstd, and decompresses them up to a limit that no input can exceed.

The zstandard library is imported on first use. Its contexts cost ten times more to make than to use and must not be
shared between threads, so every thread has its own.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from rabibridge_core.errors import ContentRejectedError, SerializationError

if TYPE_CHECKING:
    from types import ModuleType

    import zstandard

__all__ = [
    "DEFAULT_LEVEL",
    "MAGIC",
    "MAX_WINDOW_SIZE",
    "compress",
    "decompress",
    "expand",
    "expanded_size",
    "is_identity",
    "looks_incompressible",
]

MAGIC = b"\x28\xb5\x2f\xfd"
"""The four bytes that every zstd frame begins with."""

DEFAULT_LEVEL = 3
"""The zstd level used on the wire: about as fast as copying, and the one that RabiBridge 0.1.2 uses."""

MAX_WINDOW_SIZE = 8 * 1024 * 1024
"""Largest window that a frame of unknown size may require, in bytes."""

_SAMPLED_FROM = 32 * 1024
_SAMPLES = 8
_SAMPLE_SIZE = 8 * 1024
"""A sample has at most so many bytes; of a body below 1 MiB, all samples together are a sixteenth."""
_WORTH_IT = 0.98
"""A sample that keeps more than this part of its size shows that compressing the body would save almost nothing."""

# A zstd block takes at least 4 bytes and holds at most 128 KiB, so 256 bytes of input never give more than 8 MiB.
_INPUT_STEP = 256


class _Contexts:
    """The zstandard library and the contexts of one thread."""

    def __init__(self) -> None:
        import zstandard

        self.library: ModuleType = zstandard
        self.decompressor = zstandard.ZstdDecompressor(max_window_size=MAX_WINDOW_SIZE)
        self._compressors: dict[int, zstandard.ZstdCompressor] = {}

    def compressor(self, level: int) -> zstandard.ZstdCompressor:
        compressor = self._compressors.get(level)
        if compressor is None:
            compressor = self._compressors[level] = self.library.ZstdCompressor(level=level)
        return compressor


# Most are charsets or transfer encodings, but other AMQP libraries put them there.
_IDENTITY = frozenset({"identity", "binary", "utf-8", "utf8", "ascii", "us-ascii", "7bit", "8bit"})

_per_thread = threading.local()


def _contexts() -> _Contexts:
    try:
        contexts: _Contexts = _per_thread.contexts
    except AttributeError:
        contexts = _per_thread.contexts = _Contexts()
    return contexts


def compress(data: bytes | bytearray | memoryview, level: int = DEFAULT_LEVEL) -> bytes:
    """Compress ``data`` into one zstd frame that states its content size.

    Raises:
        SerializationError: the compressor failed, which means lack of memory.
    """
    contexts = _contexts()
    try:
        return contexts.compressor(level).compress(data)
    except (contexts.library.ZstdError, MemoryError) as error:
        raise SerializationError(f"{len(data)} bytes could not be compressed: {type(error).__name__}") from error


def looks_incompressible(data: bytes | bytearray | memoryview) -> bool:
    """Tell whether a large body is not worth compressing, as images, archives and encrypted data are not.

    Compresses samples spread over the body, of up to 64 KiB together; compressing all of it would take about half as
    long as the call. For bodies of less than 32 KiB the answer is always no.
    """
    size = len(data)
    if size < _SAMPLED_FROM:
        return False
    view = memoryview(data)
    length = min(size // (16 * _SAMPLES), _SAMPLE_SIZE)
    step = (size - length) // (_SAMPLES - 1)
    sample = b"".join([view[start : start + length] for start in range(0, step * _SAMPLES, step)])
    return len(compress(sample)) > _WORTH_IT * len(sample)


def decompress(data: bytes | bytearray | memoryview, limit: int) -> bytes:
    """Decompress exactly one zstd frame into at most ``limit`` bytes.

    A frame that states a larger size is refused before anything is allocated. A frame without a size is decompressed in
    steps, and refused at most 8 MiB past the limit.

    Raises:
        ContentRejectedError: the content is larger than ``limit``, or needs a window of more than 8 MiB.
        SerializationError: the frame is truncated or corrupt, or something follows it.
    """
    contexts = _contexts()
    try:
        size = contexts.library.frame_content_size(data)
        if size > limit:
            raise _too_large(limit)
        # For a stated size of 0, zstandard returns without checking the rest, so such a frame is read in steps, too.
        if size > 0:
            return contexts.decompressor.decompress(data, allow_extra_data=False)
        return _decompress_in_steps(contexts, memoryview(data), limit)
    except (contexts.library.ZstdError, MemoryError) as error:
        raise SerializationError(f"the received zstd frame is corrupt or truncated: {error}") from error


def is_identity(content_encoding: str) -> bool:
    """Tell whether a content encoding says that the body is not compressed."""
    return content_encoding.strip().lower() in _IDENTITY


def expand(
    body: bytes | bytearray | memoryview, content_encoding: str | None, limit: int
) -> bytes | bytearray | memoryview:
    """Return the body as it was before compression; without a content encoding, zstd is detected by its magic number.

    Raises:
        ContentRejectedError: the content encoding is not accepted, or the result would exceed ``limit`` bytes.
        SerializationError: the zstd frame is corrupt.
    """
    encoding = content_encoding.strip().lower() if content_encoding else ""
    if encoding in _IDENTITY:
        return body
    if encoding == "zstd" or (not encoding and body[:4] == MAGIC):
        return decompress(body, limit)
    if encoding:
        raise ContentRejectedError(f"content encoding {encoding[:100]!r} is not accepted; only zstd is")
    return body


def expanded_size(body: bytes | bytearray | memoryview, content_encoding: str | None) -> int:
    """Return how many bytes :func:`expand` would return; ``sys.maxsize`` if that is not known."""
    if body[:4] != MAGIC or (content_encoding and is_identity(content_encoding)):
        return len(body)
    contexts = _contexts()
    try:
        size: int = contexts.library.frame_content_size(body)
    except contexts.library.ZstdError:
        size = -1
    return size if size >= 0 else sys.maxsize


def _decompress_in_steps(contexts: _Contexts, data: memoryview, limit: int) -> bytes:
    window = contexts.library.get_frame_parameters(data).window_size
    if window > MAX_WINDOW_SIZE:
        raise ContentRejectedError(f"the received zstd frame needs a window of more than {MAX_WINDOW_SIZE} bytes")
    stream = contexts.decompressor.decompressobj()
    chunks: list[bytes] = []
    total = consumed = 0
    while consumed < len(data) and not stream.eof:
        chunk = stream.decompress(data[consumed : consumed + _INPUT_STEP])
        consumed += _INPUT_STEP
        total += len(chunk)
        if total > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    if not stream.eof:
        raise SerializationError("the received zstd frame is truncated")
    if consumed < len(data) or stream.unused_data:
        raise SerializationError("something follows the received zstd frame")
    return b"".join(chunks)


def _too_large(limit: int) -> ContentRejectedError:
    return ContentRejectedError(f"the received body is larger than {limit} bytes when decompressed (max_decompressed)")
