"""A received request and the operations that settle it."""

from __future__ import annotations

from math import isfinite
from types import MappingProxyType
from typing import TYPE_CHECKING

from rabibridge._amqp.field_tables import decode_table_or_empty
from rabibridge._amqp.headers import (
    BUNDLES_FIELD,
    DEADLINE_HEADER,
    DELIVERIES_HEADER,
    DELIVERY_COUNT_HEADER,
    PROBE_HEADER,
    PROBE_TABLE,
    TIMEOUT_HEADER,
    USER_HEADER,
    parse_deadline_table,
    parse_signed_table,
    parse_stream_table,
    parse_traced_table,
    without_announcement,
)
from rabibridge._amqp.properties import user_of
from rabibridge._amqp.reply_to import caller_address
from rabibridge._connection.names import SERVER_NAMED
from rabibridge._transport.interfaces import ReplyUnsentError
from rabibridge._transport.parts import PartSender
from rabibridge_core._protocol.headers import TRACEPARENT
from rabibridge_core._protocol.identity import sender_of
from rabibridge_core._protocol.streams import STREAM_HEADERS
from rabibridge_core._security.signature import SIGNATURE
from rabibridge_core.errors import ContentRejectedError

if TYPE_CHECKING:
    import asyncio

    from rabibridge._amqp.properties import Properties
    from rabibridge._transport.interfaces import DeliveryChannel
    from rabibridge_core.transport import Headers, Reply

__all__ = ["RabbitRequest"]

_DELIVERIES_MAX = 2**31
_NO_HEADERS: Headers = MappingProxyType({})


class RabbitRequest:
    """A received request that must be settled once."""

    __slots__ = (
        "_channel", "_probe_allowed", "_reply_refused", "_tag", "body", "caller", "content_encoding", "content_type",
        "correlation_id", "deadline", "deliveries", "headers", "persistent", "properties", "redelivered", "time_left",
        "wants_reply",
    )  # fmt: skip

    def __init__(
        self, channel: DeliveryChannel[RabbitRequest], tag: int, redelivered: bool, properties: Properties, body: bytes
    ) -> None:
        """Wrap a delivery; ``tag`` is its delivery tag on ``channel``."""
        self._channel: DeliveryChannel[RabbitRequest] | None = channel  # None: settled
        self._tag = tag  # 0: acknowledged
        self._reply_refused = False
        self.properties = properties
        self.content_type, self.content_encoding, table, self.correlation_id, reply_to, _, self.persistent, _, _ = (
            properties
        )
        self.caller = reply_to
        self.wants_reply = reply_to != b""
        self.redelivered = redelivered
        self.deliveries = 1 if redelivered else 0
        self.body = body
        self.headers = _NO_HEADERS
        self._probe_allowed = True
        times = parse_deadline_table(table)
        if times is not None:
            self.time_left: float | None = times[0] / 1000
            self.deadline: float | None = times[1] / 1000
            return
        self.time_left = self.deadline = None
        traced = parse_traced_table(table)
        if traced is None and table.startswith(BUNDLES_FIELD, 4):
            table = without_announcement(table)
        if traced is not None:
            self.headers = {TRACEPARENT: traced[0]}
            self.time_left, self.deadline = traced[1] / 1000, traced[2] / 1000
        elif (times := parse_stream_table(table)) is not None:
            self.time_left, self.deadline = times[0] / 1000, times[1] / 1000
            self.headers = STREAM_HEADERS
        elif (table == PROBE_TABLE or not table) and not properties.expiration:
            self._probe_allowed = table != b""
        elif (signed := parse_signed_table(table)) is not None:
            self.headers = {SIGNATURE: signed[0]}
            self.time_left, self.deadline = signed[1] / 1000, signed[2] / 1000
        else:
            self._read_headers(channel, table, properties.expiration)

    def _read_headers(self, channel: DeliveryChannel[RabbitRequest], table: bytes, expiration: bytes) -> None:
        """Parse other headers: a sender may encode the deadline differently, or set only an expiration."""
        headers = self.headers = decode_table_or_empty(table)
        self._probe_allowed = DEADLINE_HEADER in headers or headers.get(PROBE_HEADER) is True
        self.time_left, self.deadline = _seconds(headers.get(TIMEOUT_HEADER)), _seconds(headers.get(DEADLINE_HEADER))
        if self.time_left is None and expiration.isdigit():
            self.time_left = _seconds(int(expiration[:18]))
        # Whoever sends a request can set any header. Only workers may publish to the default exchange, where counted
        # copies come from; and the broker replaces its own header in requests that it redelivers.
        if channel.via_default_exchange:
            self.deliveries += _delivery_count(headers.get(DELIVERIES_HEADER))
        else:
            headers.pop(USER_HEADER, None)
        if self.redelivered and channel.consumer.queue.queue_type == "quorum":
            self.deliveries = max(self.deliveries, _delivery_count(headers.get(DELIVERY_COUNT_HEADER)))
        self.redelivered = self.deliveries > 0

    @property
    def user(self) -> str:
        """The user that sent it, as the broker has checked it; empty if it does not say."""
        user_id, channel = self.properties.user_id, self._channel
        if user_id and channel is not None and user_id == channel.user_id:
            original = self.headers.get(USER_HEADER)  # a copy that a worker has made
            if isinstance(original, str):
                return original
        return user_of(self.properties)

    @property
    def reply_address(self) -> bytes:
        """Where its reply goes. The broker has completed the address of a direct reply-to."""
        return caller_address(self.caller)

    @property
    def void(self) -> bool:
        """Whether it can no longer be settled because its channel is closed: the broker redelivers it."""
        return self._channel is not None and not self._channel.open and self._tag != 0

    @property
    def address(self) -> str:
        """Where its caller can send further messages."""
        return self._channel.address if self._channel is not None else ""

    def reply_part(self, reply: Reply, /) -> asyncio.Future[None] | None:
        """Send a reply that others follow."""
        channel = self._channel
        if channel is None or self.void:
            return None
        if not (self._tag or channel.open):
            channel.consumer.reply_late(self.properties, reply)
            return None
        if not isinstance(channel, PartSender):
            channel = self._channel = PartSender(channel, self.properties, sender_of(self))
        return channel.send(reply)

    def reply(self, reply: Reply, /) -> None:
        """Send the reply, then settle."""
        channel = self._channel
        if channel is not None:
            if not (self._tag or channel.open):
                self._reply_late(channel, reply)
                return
            frames = channel.encode_reply(self.properties, reply)
            if not frames:
                self._reply_apart(channel, reply)
                return
            self._channel = None
            channel.settle(frames, self._tag)

    def _reply_apart(self, channel: DeliveryChannel[RabbitRequest], reply: Reply) -> None:
        """Settle only when the broker has accepted the reply: it may refuse one that is too large."""

        def done(refusal: Exception | None) -> None:
            if isinstance(refusal, ContentRejectedError) and not self._reply_refused:
                self._reply_refused = True
                channel.consumer.events.reply_refused(self, refusal)
            elif self._channel is not None:
                if refusal is not None and not (self._tag or channel.open):
                    self._reply_late(channel, reply)
                    return
                self._channel = None
                if self._tag and isinstance(refusal, ReplyUnsentError):
                    channel.reject(self._tag, requeue=True)  # another worker may answer it
                else:
                    channel.settle(b"", self._tag)

        channel.reply_apart(self.properties, reply, done)

    def _reply_late(self, channel: DeliveryChannel[RabbitRequest], reply: Reply) -> None:
        """Reply to an accepted request whose channel is closed: it is never redelivered, so only this worker can."""
        channel.consumer.reply_late(self.properties, reply)
        self._channel = None

    def accept(self) -> None:
        """Settle now, reply later."""
        channel = self._channel
        if channel is not None and channel.open and self._tag:
            channel.accept(self._tag)
            self._tag = 0

    def discard(self) -> None:
        """Settle without a reply."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.settle(b"", self._tag)

    def reject(self, *, requeue: bool) -> None:
        """Return it to the queue, or drop it."""
        channel, self._channel = self._channel, None
        if channel is None:
            return
        if self._tag:
            channel.reject(self._tag, requeue=requeue)
        else:
            channel.settle(b"", 0)

    def dead_letter(self, reason: str, reply: Reply | None = None, /) -> None:
        """Publish it to the dead-letter queue, then reply and settle."""
        channel, tag = self._channel, self._tag
        if channel is None:
            return
        replies = reply is not None and self.wants_reply
        frames = channel.encode_reply(self.properties, reply) if reply is not None and replies else b""

        def done(refusal: Exception | None) -> None:
            if reply is not None and replies and not frames:
                channel.reply_apart(self.properties, reply, lambda _: None)
            if not (refusal and tag):
                channel.settle(frames, tag)
                return
            if frames:
                channel.write(frames)
            channel.reject(tag, requeue=False)

        channel.dead_letter(self, reason, done)
        self._channel = None  # not before: it tells whose request a copy is

    def probe(self) -> None:
        """Find out whether the caller is still connected, if it allows probes and has a reply queue."""
        # Probing a direct reply-to tells nothing: RabbitMQ returns such messages always before 4.2, and never since.
        channel = self._channel
        if channel is not None and self._probe_allowed and self.wants_reply and self.caller.startswith(SERVER_NAMED):
            channel.probe(self.caller)


def _seconds(milliseconds: object) -> float | None:
    """Return the value of a header in seconds; ``None`` for what is no number of milliseconds."""
    if isinstance(milliseconds, int | float) and not isinstance(milliseconds, bool) and isfinite(milliseconds):
        return milliseconds / 1000
    return None


def _delivery_count(value: object) -> int:
    """Return a count from a header of an untrusted sender."""
    return min(max(0, value), _DELIVERIES_MAX) if isinstance(value, int) else 0
