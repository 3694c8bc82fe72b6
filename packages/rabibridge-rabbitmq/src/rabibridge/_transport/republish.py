"""Builds the messages a worker republishes: a copy with a redelivery count, or a dead letter."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rabibridge._amqp.durations import expiration_of
from rabibridge._amqp.field_tables import amended_properties, amended_table, decode_table, encode_table
from rabibridge._amqp.frames import FrameError
from rabibridge._amqp.headers import (
    DEAD_AT_HEADER,
    DEAD_BY_HEADER,
    DEAD_QUEUE_HEADER,
    DEAD_REASON_HEADER,
    DELIVERIES_HEADER,
    DELIVERY_COUNT_HEADER,
    USER_HEADER,
)
from rabibridge._amqp.properties import Properties, encode_properties
from rabibridge_core._clock import wall
from rabibridge_core._concurrency.deadlines import time_remaining

if TYPE_CHECKING:
    from rabibridge._connection.session import Session
    from rabibridge._transport.incoming import RabbitRequest
    from rabibridge._transport.interfaces import Done
    from rabibridge_core.transport import Headers, HeaderValue, ServiceQueue

__all__ = ["OutgoingMessage", "counted_copy", "dead_letter"]

_REASON_MAX = 1024
_SHORT_STRING_MAX = 255
_FRAME_OVERHEAD = 14
_ROUTING_HEADERS = (b"CC", b"BCC")
"""Headers that would make RabbitMQ route the message to other queues as well."""
_COUNT_HEADERS = (DELIVERIES_HEADER.encode(), DELIVERY_COUNT_HEADER.encode())
"""Removed from dead letters, so that counting starts at 0 for one that an operator moves back to its service."""


class OutgoingMessage(NamedTuple):
    """A message for a queue.

    Attributes:
        queue: name of the queue.
        flags: property flags.
        properties: encoded properties.
        body: message body.
        done: called with the outcome.
        retried: whether it was published before, on a channel that has closed.
        mandatory: whether the broker returns it if there is no such queue.
    """

    queue: bytes
    flags: int
    properties: bytes
    body: bytes
    done: Done
    retried: bool = False
    mandatory: bool = True


def counted_copy(
    request: RabbitRequest, queue: ServiceQueue, vouched: Headers, session: Session, done: Done
) -> OutgoingMessage:
    """Return a copy of a request with its delivery count in the headers; it expires when the original would have.

    Raises:
        FrameError: the request cannot be copied: its deadline has passed, or its body or headers are too large.
    """
    if len(request.body) > session.max_body:
        raise FrameError("its body exceeds the maximum size and was not kept completely")
    remaining = time_remaining(request.time_left, request.deadline, wall())
    if remaining is not None and remaining <= 0:
        raise FrameError("its deadline has passed")
    properties = request.properties
    count: dict[str, HeaderValue] = {**vouched, DELIVERIES_HEADER: request.deliveries}
    user = request.user
    if user:
        count[USER_HEADER] = user
    try:
        table = amended_table(properties.headers, _ROUTING_HEADERS, count)
        decode_table(table)
    except FrameError:  # no worker can decode this table, so nothing is lost by replacing it
        table = encode_table(count)
    expiration = b"" if remaining is None else expiration_of(remaining)
    flags, encoded = amended_properties(properties.raw, table, expiration, session.user_id if user else b"")
    if len(encoded) + _FRAME_OVERHEAD > session.max_payload:
        raise FrameError("its headers leave no room for a delivery count")
    return OutgoingMessage(queue.name.encode(), flags, encoded, request.body, done)


def dead_letter(
    request: RabbitRequest, queue: ServiceQueue, reason: str, worker: str, session: Session, done: Done
) -> OutgoingMessage:
    """Return a request as a dead letter: persistent, without expiration, and with the reason in its headers."""
    reason = reason.encode("utf-8", "backslashreplace")[:_REASON_MAX].decode("utf-8", "ignore")
    if len(request.body) > session.max_body:
        reason = f"{reason} (only the first {len(request.body)} bytes of the body are here)"
    added: dict[str, HeaderValue] = {
        DEAD_REASON_HEADER: reason,
        DEAD_QUEUE_HEADER: queue.name,
        DEAD_AT_HEADER: int(wall() * 1000),
        DEAD_BY_HEADER: worker,
    }
    properties = request.properties
    try:
        table = amended_table(properties.headers, _ROUTING_HEADERS + _COUNT_HEADERS, added)
    except FrameError:
        table = encode_table(added)
    if len(table) + 4 * (_SHORT_STRING_MAX + 1) + _FRAME_OVERHEAD > session.max_payload:
        table = encode_table(added)
    flags, encoded = encode_properties(
        Properties(
            _shortened(properties.content_type),
            _shortened(properties.content_encoding),
            table,
            properties.correlation_id,
            properties.reply_to,
            persistent=True,
        )
    )
    return OutgoingMessage(session.names.dead_letters.encode(), flags, encoded, request.body, done)


def _shortened(text: str | None) -> str | None:
    """Return text that fits into a short string: decoding may have replaced invalid bytes by longer characters."""
    return text and text.encode()[:_SHORT_STRING_MAX].decode("utf-8", "ignore")
