"""Fast path: encodes and parses the most common requests and replies in one step.

Nearly all messages of a busy client or worker differ in a few bytes only. Messages of any other form are left to the
general functions of ``frames`` and ``properties``, which produce the same bytes and the same values.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from rabibridge._amqp.durations import expiration_of
from rabibridge._amqp.field_tables import encode_table
from rabibridge._amqp.frames import BODY, CONTENT_HEADER, END, HEADER, LENGTH_OCTETS, NEXT_FRAME, short_string
from rabibridge._amqp.headers import (
    ANNOUNCING_TRACED_START,
    ROUTING_HEADERS,
    TRACED_START,
    announcing,
    announcing_deadline_table,
    deadline_table,
    stream_table,
    times_of_traced,
)
from rabibridge._amqp.properties import USER_ID, Properties
from rabibridge_core._protocol.headers import IDEMPOTENCY_KEY, TRACEPARENT, TRACEPARENT_SIZE
from rabibridge_core._protocol.streams import STREAM_HEADERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.transport import Reply, Request

__all__ = ["RequestTemplate", "encode_simple_reply", "parse_common_properties"]

_REPLY_FLAGS = 0x8400  # content_type, correlation_id
_PART_FLAGS = 0xA400  # the same plus headers
_REQUEST_FLAGS = 0xA700  # the same plus reply_to and expiration
_USER_REQUEST_FLAGS = _REQUEST_FLAGS | USER_ID
_TIMEOUTS_CACHED = 256
_TABLE_MAX = 2048
"""Headers of up to so many bytes fit into a frame of any size that the brokers agree to, 4096 bytes at least."""
_GIVEN_MAX = 1500
"""Headers of up to so many bytes leave room in any frame for what workers add to them."""
_GENERAL = frozenset((IDEMPOTENCY_KEY, *ROUTING_HEADERS))
"""Headers of requests that the general encoder completes or refuses."""
_new_tuple = tuple.__new__  # takes half the time of the constructor of a NamedTuple


def parse_common_properties(flags: int, data: bytes, start: int, end: int) -> Properties | None:
    """Return the properties in ``data[start:end]``, which follow ``flags``; ``None`` if they need the general parser.

    Raises:
        IndexError: ``data`` ends within the properties.
    """
    # Each local name is the position of a property, whose length octet comes first.
    if flags == _REPLY_FLAGS:
        correlation_id = start + 1 + data[start]
        if correlation_id + 1 + data[correlation_id] != end:
            return None
        content_type = _text(data[start + 1 : correlation_id])
        return _new_tuple(
            Properties, (content_type, None, b"", data[correlation_id + 1 : end], b"", b"", False, b"", b"")
        )
    if flags not in (_USER_REQUEST_FLAGS, _REQUEST_FLAGS, _PART_FLAGS):
        return None
    table = start + 1 + data[start]
    correlation_id = table + 4 + int.from_bytes(data[table : table + 4], "big")
    if flags == _PART_FLAGS:
        if correlation_id + 1 + data[correlation_id] != end:
            return None
        fields = _text(data[start + 1 : table]), None, data[table:correlation_id], data[correlation_id + 1 : end]
        return _new_tuple(Properties, (*fields, b"", b"", False, b"", b""))
    reply_to = correlation_id + 1 + data[correlation_id]
    expiration = reply_to + 1 + data[reply_to]
    user_id = expiration + 1 + data[expiration]
    if (user_id if flags == _REQUEST_FLAGS else user_id + 1 + data[user_id]) != end:
        return None
    content_type = _text(data[start + 1 : table])
    return _new_tuple(
        Properties,
        (
            content_type, None, data[table:correlation_id], data[correlation_id + 1 : reply_to],
            data[reply_to + 1 : expiration], data[expiration + 1 : user_id], False, b"", data[user_id + 1 : end],
        ),
    )  # fmt: skip


@lru_cache(maxsize=64)
def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


@lru_cache(maxsize=64)
def _short_text(value: str) -> bytes:
    return short_string(value.encode())


class RequestTemplate:
    """Encodes requests that have a deadline and a small body and whose replies go to one queue."""

    def __init__(self, channel: int, reply_to: bytes, max_payload: int, user_id: bytes = b"") -> None:
        """Encode for one channel.

        Args:
            channel: channel number.
            reply_to: the queue for the replies.
            max_payload: maximum size of a small body, in bytes.
            user_id: the user that sends the requests; empty: it is not named.
        """
        self._channel = channel
        self._reply_to = short_string(reply_to)
        self._user_id = short_string(user_id) if user_id else b""
        self._flags = _USER_REQUEST_FLAGS if user_id else _REQUEST_FLAGS
        self._max_payload = max_payload
        # By timeout: the header table up to the deadline, and the properties after the correlation id.
        self._timeouts: dict[float, tuple[bytes, bytes]] = {}
        self._stream_timeouts: dict[float, tuple[bytes, bytes]] = {}
        self._traced_timeouts: dict[float, tuple[bytes, bytes]] = {}
        self._announcing_timeouts: dict[float, tuple[bytes, bytes]] = {}

    def encode(self, method: bytes, request: Request, now: float, *, bundles: bool = False) -> bytes:
        """Return all frames of a request, or nothing if it needs the general encoder.

        Args:
            method: encoded ``basic.publish`` frame.
            request: the request to send.
            now: current time, in seconds since 1970.
            bundles: whether to announce that the caller reads bundles.
        """
        _, correlation_id, body, content_type, content_encoding, seconds, headers, persistent = request
        size, id_size = len(body), len(correlation_id)
        if seconds is None or persistent or content_encoding or not content_type:
            return b""
        if not (0 < size <= self._max_payload and 0 < id_size < 256):
            return b""
        media_type = _short_text(content_type)
        if not headers and bundles:
            cached = self._announcing_timeouts
            table, tail = cached.get(seconds) or self._add_timeout(cached, announcing_deadline_table, seconds)
        elif not headers:
            table, tail = self._timeouts.get(seconds) or self._add_timeout(self._timeouts, deadline_table, seconds)
        elif headers is STREAM_HEADERS:
            cached = self._stream_timeouts
            table, tail = cached.get(seconds) or self._add_timeout(cached, stream_table, seconds)
        elif (
            len(headers) == 1
            and type(trace := headers.get(TRACEPARENT)) is str
            and len(trace) == TRACEPARENT_SIZE
            and trace.isascii()
        ):
            cached = self._traced_timeouts
            times, tail = cached.get(seconds) or self._add_timeout(cached, times_of_traced, seconds)
            table = (ANNOUNCING_TRACED_START if bundles else TRACED_START) + trace.encode() + times
            bundles = False
        elif _GENERAL.isdisjoint(headers):
            times, tail = self._timeouts.get(seconds) or self._add_timeout(self._timeouts, deadline_table, seconds)
            given = encode_table(headers)
            if len(given) > _GIVEN_MAX:
                return b""
            entries = given[4:] + times[4:]
            table = (len(entries) + 8).to_bytes(4, "big") + entries
        else:
            return b""
        if bundles and headers:
            table = announcing(table)
        channel = self._channel
        length = 23 + len(media_type) + len(table) + id_size + len(tail)
        return b"".join(
            (
                method,
                CONTENT_HEADER.pack(HEADER, channel, length, 60, 0, size, self._flags),
                media_type, table, int((now + seconds) * 1000).to_bytes(8, "big"),
                LENGTH_OCTETS[id_size], correlation_id, tail,
                NEXT_FRAME.pack(END, BODY, channel, size),
                body, b"\xce",
            )
        )  # fmt: skip

    def _add_timeout(
        self, cached: dict[float, tuple[bytes, bytes]], encode_headers: Callable[[int, int], bytes], seconds: float
    ) -> tuple[bytes, bytes]:
        if len(cached) >= _TIMEOUTS_CACHED:
            cached.clear()
        expiration = expiration_of(seconds)
        parts = encode_headers(int(expiration), 0)[:-8], self._reply_to + short_string(expiration) + self._user_id
        cached[seconds] = parts
        return parts


def encode_simple_reply(channel: int, method: bytes, correlation_id: bytes, reply: Reply, max_payload: int) -> bytes:
    """Return all frames of a reply, or nothing if it has large headers or a large body and needs the general encoder.

    Args:
        channel: channel number.
        method: encoded ``basic.publish`` frame.
        correlation_id: correlation id of the request.
        reply: the reply to send.
        max_payload: maximum size of a small body, in bytes.
    """
    body, content_type, content_encoding, headers = reply
    size, id_size = len(body), len(correlation_id)
    if content_encoding or not content_type or not (0 < size <= max_payload and 0 < id_size < 256):
        return b""
    media_type = _short_text(content_type)
    if headers:
        table = encode_table(headers)
        if len(table) > _TABLE_MAX:
            return b""
        length = 15 + len(media_type) + len(table) + id_size
        return b"".join(
            (
                method,
                CONTENT_HEADER.pack(HEADER, channel, length, 60, 0, size, _PART_FLAGS),
                media_type, table, LENGTH_OCTETS[id_size], correlation_id,
                NEXT_FRAME.pack(END, BODY, channel, size),
                body, b"\xce",
            )
        )  # fmt: skip
    return b"".join(
        (
            method,
            CONTENT_HEADER.pack(HEADER, channel, 15 + len(media_type) + id_size, 60, 0, size, _REPLY_FLAGS),
            media_type, LENGTH_OCTETS[id_size], correlation_id,
            NEXT_FRAME.pack(END, BODY, channel, size),
            body, b"\xce",
        )
    )  # fmt: skip
