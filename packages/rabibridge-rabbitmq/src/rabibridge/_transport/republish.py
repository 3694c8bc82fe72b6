"""What a worker makes of a request that is to be kept: a copy that carries a count, or a dead letter."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from rabibridge._amqp.durations import expiration_of
from rabibridge._amqp.field_tables import amended_properties, amended_table, decode_table, encode_table
from rabibridge._amqp.frames import FrameError, encode_properties
from rabibridge._connection.topology import DEAD_LETTERS
from rabibridge_core._concurrency.deadlines import time_remaining

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge._connection.session import Session
    from rabibridge._transport.incoming import RabbitRequest
    from rabibridge_core.transport import HeaderValue, ServiceQueue

__all__ = ["Done", "OutgoingMessage", "counted_copy", "dead_letter"]

Done: TypeAlias = "Callable[[Exception | None], None]"

_REASON_MAX = 1024
_SHORT_MAX = 255
_FRAME_OVERHEAD = 14
_ROUTING_HEADERS = (b"CC", b"BCC")
"""Headers by which RabbitMQ would put the message into other queues as well."""
_COUNTERS = (b"rb-deliveries", b"x-delivery-count")
"""Not in dead letters: one that an operator moves back to its service starts anew."""


class OutgoingMessage(NamedTuple):
    """A message for a queue, and who is told what became of it."""

    queue: bytes
    flags: int
    properties: bytes
    body: bytes
    done: Done
    again: bool = False


def counted_copy(request: RabbitRequest, queue: ServiceQueue, session: Session, done: Done) -> OutgoingMessage:
    """Return the request with its count in the headers; it expires when the original would have.

    Raises:
        FrameError: there is no copy of it, or no use in one: it is too late, or too large.
    """
    if len(request.body) > session.max_body:
        raise FrameError("its body is too large and was not kept whole")
    left = time_remaining(request.time_left, request.deadline, time.time())
    if left is not None and left <= 0:
        raise FrameError("its time is over")
    properties = request.properties
    count: dict[str, HeaderValue] = {"rb-deliveries": request.deliveries}
    try:
        table = amended_table(properties.headers, _ROUTING_HEADERS, count)
        decode_table(table)
    except FrameError:  # no worker could read the count in there, nor does any read the rest
        table = encode_table(count)
    expiration = b"" if left is None else expiration_of(left)
    flags, encoded = amended_properties(properties.raw, table, expiration)
    if len(encoded) + _FRAME_OVERHEAD > session.max_payload:
        raise FrameError("its headers leave no room for a count")
    return OutgoingMessage(queue.name.encode(), flags, encoded, request.body, done)


def dead_letter(
    request: RabbitRequest, queue: ServiceQueue, reason: str, by: str, session: Session, done: Done
) -> OutgoingMessage:
    """Return the request as it is kept for an operator: with the reason, without an end."""
    reason = reason.encode("utf-8", "backslashreplace")[:_REASON_MAX].decode("utf-8", "ignore")
    if len(request.body) > session.max_body:
        reason = f"{reason} (of the body only the first {len(request.body)} bytes are here)"
    added: dict[str, HeaderValue] = {
        "rb-dead-reason": reason,
        "rb-dead-queue": queue.name,
        "rb-dead-at": int(time.time() * 1000),
        "rb-dead-by": by,
    }
    properties = request.properties
    try:
        table = amended_table(properties.headers, _ROUTING_HEADERS + _COUNTERS, added)
    except FrameError:
        table = encode_table(added)
    if len(table) + 4 * (_SHORT_MAX + 1) + _FRAME_OVERHEAD > session.max_payload:
        table = encode_table(added)
    flags, encoded = encode_properties(
        (properties.content_type or "").encode()[:_SHORT_MAX],
        (properties.content_encoding or "").encode()[:_SHORT_MAX],
        table,
        properties.correlation_id,
        properties.reply_to,
        persistent=True,
    )
    return OutgoingMessage(DEAD_LETTERS, flags, encoded, request.body, done)
