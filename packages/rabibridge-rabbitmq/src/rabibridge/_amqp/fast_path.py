"""The usual request and the usual reply: written and read in one step each.

Nearly all messages of a busy client or worker look alike but for a few bytes. Whatever is not exactly of that form is
left to the general functions of ``frames``, which come to the same bytes and the same values.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from rabibridge._amqp.durations import expiration_of
from rabibridge._amqp.frames import BODY, END, HEADER, LENGTHS, Properties, deadline_table, short_string

if TYPE_CHECKING:
    from rabibridge_core.transport import Reply, Request

__all__ = ["CONTENT_HEADER", "NEXT_FRAME", "RequestTemplate", "encode_simple_reply", "parse_common_properties"]

CONTENT_HEADER: Final = struct.Struct(">BHIHHQH")
"""A content header from its frame's first byte to its flags: kind, channel, length, class, weight, body size, flags."""
NEXT_FRAME: Final = struct.Struct(">BBHI")
"""The end of one frame and the head of the next: end octet, kind, channel, length."""

_REPLY_FLAGS = 0x8400  # content type, correlation id
_REQUEST_FLAGS = 0xA700  # the same and headers, reply_to, expiration
_TIMES_KEPT = 256
_new_tuple = tuple.__new__  # half of the time that the constructor of a NamedTuple takes


def parse_common_properties(flags: int, data: bytes, start: int, end: int) -> Properties | None:
    """Return the properties in ``data[start:end]``, behind their flags; ``None``: they are not the usual ones.

    Raises:
        IndexError: they end too early.
    """
    if flags == _REPLY_FLAGS:
        name = start + 1 + data[start]
        if name + 1 + data[name] != end:
            return None
        content_type = _text(data[start + 1 : name])
        return _new_tuple(Properties, (content_type, None, b"", data[name + 1 : end], b"", b"", False, b""))
    if flags != _REQUEST_FLAGS:
        return None
    table = start + 1 + data[start]
    name = table + 4 + int.from_bytes(data[table : table + 4], "big")
    reply_to = name + 1 + data[name]
    expiration = reply_to + 1 + data[reply_to]
    if expiration + 1 + data[expiration] != end:
        return None
    content_type = _text(data[start + 1 : table])
    return _new_tuple(
        Properties,
        (
            content_type, None, data[table:name], data[name + 1 : reply_to], data[reply_to + 1 : expiration],
            data[expiration + 1 : end], False, b"",
        ),
    )  # fmt: skip


@lru_cache(maxsize=64)
def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


@lru_cache(maxsize=64)
def _short_text(value: str) -> bytes:
    return short_string(value.encode())


class RequestTemplate:
    """Writes requests with a deadline and a small body, for the replies to one queue."""

    def __init__(self, channel: int, reply_to: bytes, max_payload: int) -> None:
        """Write for a channel; a body of more than ``max_payload`` bytes is not small."""
        self._channel = channel
        self._reply_to = short_string(reply_to)
        self._max_payload = max_payload
        # By seconds: the table of headers up to the deadline, and what stands behind the correlation id.
        self._times: dict[float, tuple[bytes, bytes]] = {}

    def frames(self, method: bytes, request: Request, now: float) -> bytes:
        """Return all frames of a request, ``method`` before them; empty: it is not a usual one.

        Args:
            method: the frame of ``basic.publish``.
            request: what to send.
            now: the time, in seconds since 1970.
        """
        _, name, body, content_type, content_encoding, seconds, headers, persistent = request
        size, name_size = len(body), len(name)
        if seconds is None or headers or persistent or content_encoding or not content_type:
            return b""
        if not (0 < size <= self._max_payload and 0 < name_size < 256):
            return b""
        kind = _short_text(content_type)
        table, tail = self._times.get(seconds) or self._new_times(seconds)
        channel = self._channel
        length = 23 + len(kind) + len(table) + name_size + len(tail)
        return b"".join(
            (
                method,
                CONTENT_HEADER.pack(HEADER, channel, length, 60, 0, size, _REQUEST_FLAGS),
                kind, table, int((now + seconds) * 1000).to_bytes(8, "big"), LENGTHS[name_size], name, tail,
                NEXT_FRAME.pack(END, BODY, channel, size),
                body, b"\xce",
            )
        )  # fmt: skip

    def _new_times(self, seconds: float) -> tuple[bytes, bytes]:
        if len(self._times) >= _TIMES_KEPT:
            self._times.clear()
        expiration = expiration_of(seconds)
        times = deadline_table(int(expiration), 0)[:-8], self._reply_to + short_string(expiration)
        self._times[seconds] = times
        return times


def encode_simple_reply(channel: int, method: bytes, name: bytes, reply: Reply, max_payload: int) -> bytes:
    """Return all frames of a reply without headers and with a small body; empty: it is not like that.

    Args:
        channel: the channel number.
        method: the frame of ``basic.publish``.
        name: the correlation id.
        reply: what to send.
        max_payload: the most bytes of a small body.
    """
    body, content_type, content_encoding, headers = reply
    size, name_size = len(body), len(name)
    if headers or content_encoding or not content_type or not (0 < size <= max_payload and 0 < name_size < 256):
        return b""
    kind = _short_text(content_type)
    return b"".join(
        (
            method,
            CONTENT_HEADER.pack(HEADER, channel, 15 + len(kind) + name_size, 60, 0, size, _REPLY_FLAGS),
            kind, LENGTHS[name_size], name,
            NEXT_FRAME.pack(END, BODY, channel, size),
            body, b"\xce",
        )
    )  # fmt: skip
