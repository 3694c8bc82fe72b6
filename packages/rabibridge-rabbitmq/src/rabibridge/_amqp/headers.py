"""Headers by which the RabbitMQ transport passes on deadlines, probes, delivery counts and reasons of dead letters.

The header tables that nearly all requests carry have a fixed layout, so that they are encoded and parsed in one step.
"""

from __future__ import annotations

import struct
from typing import Final

from rabibridge._amqp.field_tables import encode_table
from rabibridge._amqp.frames import short_string
from rabibridge_core._protocol.headers import TRACEPARENT, TRACEPARENT_SIZE
from rabibridge_core._protocol.streams import STREAM_HEADERS
from rabibridge_core._security.signature import SIGNATURE

__all__ = [
    "ANNOUNCING_TRACED_START",
    "BROADCAST_HEADER",
    "BUNDLES_FIELD",
    "BUNDLES_HEADER",
    "DEADLINE_HEADER",
    "DEAD_AT_HEADER",
    "DEAD_BY_HEADER",
    "DEAD_QUEUE_HEADER",
    "DEAD_REASON_HEADER",
    "DEATHS_HEADER",
    "DELIVERIES_HEADER",
    "DELIVERY_COUNT_HEADER",
    "PROBE_HEADER",
    "PROBE_TABLE",
    "ROUTING_HEADERS",
    "TIMEOUT_HEADER",
    "TRACED_START",
    "USER_HEADER",
    "announcing",
    "announcing_deadline_table",
    "deadline_table",
    "is_signed_table",
    "parse_deadline_table",
    "parse_signed_table",
    "parse_stream_table",
    "parse_traced_table",
    "stream_table",
    "times_of_traced",
    "without_announcement",
]

TIMEOUT_HEADER: Final = "rb-timeout"
"""Remaining time of a call when it was sent, in milliseconds."""
DEADLINE_HEADER: Final = "rb-deadline"
"""Deadline of a call by the clock of the caller, in milliseconds since 1970."""
BROADCAST_HEADER: Final = "rb-broadcast"
"""The routing key of a broadcast, which says that a message to the queue for cancellations is one."""
BUNDLES_HEADER: Final = "rb-bundles"
"""``True`` as the first header of a request: its caller reads replies in bundles."""
PROBE_HEADER: Final = "rb-probe"
"""``True`` for a call without a deadline: the worker may probe whether the caller is still connected."""
DELIVERIES_HEADER: Final = "rb-deliveries"
"""How often the request was delivered before, on a copy that a worker has republished."""
USER_HEADER: Final = "rb-user"
"""The user that sent the original, on a copy that a worker has republished under its own user."""
DELIVERY_COUNT_HEADER: Final = "x-delivery-count"
"""The same, counted by RabbitMQ: quorum queues only."""
DEAD_REASON_HEADER: Final = "rb-dead-reason"
DEAD_QUEUE_HEADER: Final = "rb-dead-queue"
"""The queue that a dead-lettered request came from."""
DEAD_AT_HEADER: Final = "rb-dead-at"
"""When a request was dead-lettered, in milliseconds since 1970."""
DEAD_BY_HEADER: Final = "rb-dead-by"
"""The connection name of the worker that dead-lettered a request."""
DEATHS_HEADER: Final = "rb-deaths"
"""How often a request was dead-lettered before an operator moved it back to its service."""

ROUTING_HEADERS: Final = frozenset({"CC", "BCC"})
"""Headers that RabbitMQ takes for further routing keys."""

# What stands in front of each value: name and type "l" (signed, 64 bits). The length of the table comes first.
_TIMEOUT_FIELD = b"\0\0\0\x29" + short_string(TIMEOUT_HEADER.encode()) + b"l"
_DEADLINE_FIELD = short_string(DEADLINE_HEADER.encode()) + b"l"
_DEADLINE_TABLE = struct.Struct(">16sq13sq")

PROBE_TABLE: Final = b"\0\0\0\x0b" + short_string(PROBE_HEADER.encode()) + b"t\x01"
"""The encoded header table of a call without a deadline."""


BUNDLES_FIELD: Final = short_string(BUNDLES_HEADER.encode()) + b"t\x01"
"""What follows the size of a table that begins with the announcement. Anywhere else, a text could end like it."""
_BUNDLES_SIZE = len(BUNDLES_FIELD)


def announcing(table: bytes) -> bytes:
    """Return a table of request headers, or its start, with the announcement that the caller reads bundles."""
    size = int.from_bytes(table[:4], "big") + _BUNDLES_SIZE
    return size.to_bytes(4, "big") + BUNDLES_FIELD + table[4:]


def announcing_deadline_table(timeout_ms: int, deadline_ms: int) -> bytes:
    """Return the table of :func:`deadline_table` with the announcement that the caller reads bundles."""
    return announcing(deadline_table(timeout_ms, deadline_ms))


def without_announcement(table: bytes) -> bytes:
    """Return a table that begins with the announcement without that; empty if nothing is left."""
    size = int.from_bytes(table[:4], "big") - _BUNDLES_SIZE
    return size.to_bytes(4, "big") + table[4 + _BUNDLES_SIZE :] if size > 0 else b""


def deadline_table(timeout_ms: int, deadline_ms: int) -> bytes:
    """Return the encoded header table of a call with a deadline: remaining time and deadline, in milliseconds."""
    return _DEADLINE_TABLE.pack(_TIMEOUT_FIELD, timeout_ms, _DEADLINE_FIELD, deadline_ms)


_STREAM_ENTRIES = encode_table(STREAM_HEADERS)[4:]
_STREAM_START = (len(_STREAM_ENTRIES) + _DEADLINE_TABLE.size - 4).to_bytes(4, "big") + _STREAM_ENTRIES
_STREAM_SIZE = len(_STREAM_START) + _DEADLINE_TABLE.size - 4


def stream_table(timeout_ms: int, deadline_ms: int) -> bytes:
    """Return the encoded header table of a request for a stream with a deadline and no other headers than usual."""
    return _STREAM_START + deadline_table(timeout_ms, deadline_ms)[4:]


def parse_stream_table(table: bytes) -> tuple[int, int] | None:
    """Return remaining time and deadline if :func:`stream_table` made the table, else ``None``."""
    if len(table) != _STREAM_SIZE or not table.startswith(_STREAM_START):
        return None
    return parse_deadline_table(_TIMEOUT_FIELD[:4] + table[len(_STREAM_START) :])


def parse_deadline_table(table: bytes) -> tuple[int, int] | None:
    """Return remaining time and deadline if the table has both, with or without the announcement, and nothing else.

    ``None``: it has another form than :func:`deadline_table` and :func:`announcing_deadline_table` make.
    """
    if len(table) == _DEADLINE_TABLE.size:
        timeout_field, timeout_ms, deadline_field, deadline_ms = _DEADLINE_TABLE.unpack(table)
        if timeout_field == _TIMEOUT_FIELD and deadline_field == _DEADLINE_FIELD:
            return timeout_ms, deadline_ms
    elif len(table) == _ANNOUNCING_TABLE.size:
        timeout_field, timeout_ms, deadline_field, deadline_ms = _ANNOUNCING_TABLE.unpack(table)
        if timeout_field == _ANNOUNCING_START and deadline_field == _DEADLINE_FIELD:
            return timeout_ms, deadline_ms
    return None


_ANNOUNCING_START = announcing(_TIMEOUT_FIELD)
_ANNOUNCING_TABLE = struct.Struct(f">{len(_ANNOUNCING_START)}sq13sq")


_SIGNATURE_NAME = SIGNATURE.encode()
_SIGNATURE_FIELD = short_string(_SIGNATURE_NAME) + b"S"
_TEXT_AT = 4 + len(_SIGNATURE_FIELD) + 4
_TIMES = struct.Struct(">12sq13sq")
_TIMEOUT_NAME = _TIMEOUT_FIELD[4:]


def is_signed_table(table: bytes) -> bool:
    """Tell whether a table may hold a signature, which never comes again."""
    return _SIGNATURE_NAME in table


def parse_signed_table(table: bytes) -> tuple[str, int, int] | None:
    """Return signature, remaining time and deadline of a request that has these headers, in this order, and no others.

    ``None``: the table needs the general parser.
    """
    if not table.startswith(_SIGNATURE_FIELD, 4):
        return None
    times = _TEXT_AT + int.from_bytes(table[_TEXT_AT - 4 : _TEXT_AT], "big")
    if times + _TIMES.size != len(table) or int.from_bytes(table[:4], "big") != len(table) - 4:
        return None
    timeout_field, timeout_ms, deadline_field, deadline_ms = _TIMES.unpack_from(table, times)
    if timeout_field != _TIMEOUT_NAME or deadline_field != _DEADLINE_FIELD:
        return None
    try:
        return table[_TEXT_AT:times].decode(), timeout_ms, deadline_ms
    except UnicodeDecodeError:
        return None


_TRACE_FIELD = short_string(TRACEPARENT.encode()) + b"S" + TRACEPARENT_SIZE.to_bytes(4, "big")
TRACED_START: Final = (len(_TRACE_FIELD) + TRACEPARENT_SIZE + _TIMES.size).to_bytes(4, "big") + _TRACE_FIELD
"""What stands in front of the value of ``traceparent`` in a table that has the times of a call, and nothing else."""
ANNOUNCING_TRACED_START: Final = announcing(TRACED_START)
"""The same, with the announcement that the caller reads bundles."""
_TRACED_TABLE, _ANNOUNCING_TRACED_TABLE = (
    struct.Struct(f">{len(start)}s{TRACEPARENT_SIZE}s12sq13sq") for start in (TRACED_START, ANNOUNCING_TRACED_START)
)


def times_of_traced(timeout_ms: int, deadline_ms: int) -> bytes:
    """Return what follows the value of ``traceparent`` in such a table: remaining time and deadline."""
    return deadline_table(timeout_ms, deadline_ms)[4:]


def parse_traced_table(table: bytes) -> tuple[str, int, int] | None:
    """Return ``traceparent``, remaining time and deadline of a request that has these headers, in this order, alone.

    The announcement that the caller reads bundles may come before them.

    ``None``: the table needs the general parser.
    """
    if len(table) == _ANNOUNCING_TRACED_TABLE.size:
        expected, layout = ANNOUNCING_TRACED_START, _ANNOUNCING_TRACED_TABLE
    elif len(table) == _TRACED_TABLE.size:
        expected, layout = TRACED_START, _TRACED_TABLE
    else:
        return None
    start, text, timeout_field, timeout_ms, deadline_field, deadline_ms = layout.unpack(table)
    if start != expected or timeout_field != _TIMEOUT_NAME or deadline_field != _DEADLINE_FIELD:
        return None
    try:
        return text.decode(), timeout_ms, deadline_ms
    except UnicodeDecodeError:
        return None
