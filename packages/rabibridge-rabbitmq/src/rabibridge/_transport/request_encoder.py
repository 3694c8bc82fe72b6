"""Encodes the messages of a caller that the fast path leaves: requests of all shapes, and cancellations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge._amqp.durations import expiration_of
from rabibridge._amqp.field_tables import encode_table
from rabibridge._amqp.frames import content
from rabibridge._amqp.headers import (
    DEADLINE_HEADER,
    PROBE_HEADER,
    TIMEOUT_HEADER,
    announcing,
    deadline_table,
    stream_table,
)
from rabibridge._amqp.properties import Properties, encode_properties
from rabibridge._transport.request_checks import check_headers, check_size
from rabibridge_core._clock import wall
from rabibridge_core._protocol.headers import IDEMPOTENCY_KEY, NAMES_USER
from rabibridge_core._protocol.streams import STREAM_HEADERS

if TYPE_CHECKING:
    from rabibridge._amqp.frames import Frames
    from rabibridge._connection.session import Session
    from rabibridge_core.transport import Request

__all__ = ["RequestEncoder"]

_new_tuple = tuple.__new__  # takes half the time of the constructor of a NamedTuple


class RequestEncoder:
    """Encodes messages for one channel."""

    def __init__(self, channel: int, session: Session, user_id: bytes) -> None:
        """Encode for a channel of a connection.

        Args:
            channel: channel number.
            session: the connection.
            user_id: the user that sends the messages; empty: it is not named.
        """
        self._channel = channel
        self._session = session
        self._user_id = user_id

    def encode(
        self, method: bytes, request: Request, reply_to: bytes, probe_table: bytes, *, bundles: bool = False
    ) -> Frames:
        """Return all frames of a request.

        Args:
            method: encoded ``basic.publish`` frame.
            request: the request to send.
            reply_to: the queue for the reply; empty: none is wanted.
            probe_table: the header table of a request without a deadline.
            bundles: whether to announce that the caller reads bundles.

        Raises:
            ContentRejectedError: the body is larger than the broker accepts.
            ConfigurationError: the headers are too large together, or one of them has a meaning for RabbitMQ.
        """
        check_size(len(request.body), self._session.max_message)
        _, correlation_id, body, content_type, content_encoding, seconds, headers, persistent = request
        if self._user_id and headers and IDEMPOTENCY_KEY in headers:
            headers = {**headers, NAMES_USER: True}
        expiration = b""
        if seconds is None:
            table = probe_table
            if headers:
                table = encode_table({**headers, PROBE_HEADER: True} if table else headers)
        else:
            expiration = expiration_of(seconds)
            milliseconds = int(expiration)
            deadline = int((wall() + seconds) * 1000)
            if headers is STREAM_HEADERS:
                table = stream_table(milliseconds, deadline)
            elif headers:
                table = encode_table({**headers, TIMEOUT_HEADER: milliseconds, DEADLINE_HEADER: deadline})
            else:
                table = deadline_table(milliseconds, deadline)
        if bundles:
            table = announcing(table)
        properties = _new_tuple(
            Properties,
            (
                content_type, content_encoding, table, correlation_id, reply_to, expiration, persistent, b"",
                self._user_id,
            ),
        )  # fmt: skip
        flags, encoded = encode_properties(properties)
        max_payload = self._session.max_payload
        if headers and headers is not STREAM_HEADERS:
            check_headers(headers, len(encoded), max_payload)
        return content(self._channel, method, flags, encoded, body, max_payload)

    def encode_cancel(self, method: bytes, correlation_id: bytes, reply_to: bytes, routing_key: bytes) -> Frames:
        """Return all frames of the cancellation of a call to the service with this routing key."""
        cancel = Properties(correlation_id=correlation_id, reply_to=reply_to, user_id=self._user_id)
        flags, encoded = encode_properties(cancel)
        return content(self._channel, method, flags, encoded, routing_key, self._session.max_payload)
