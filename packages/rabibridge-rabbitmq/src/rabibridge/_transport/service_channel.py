"""The lane of one service: requests in, replies and acknowledgements out, on one channel."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rabibridge._amqp.fast_path import encode_simple_reply
from rabibridge._amqp.field_tables import encode_table
from rabibridge._amqp.frames import ack, content, encode_properties, publish_method, reject
from rabibridge._connection.error_translation import permission_error
from rabibridge._connection.fast_channel import FastChannel
from rabibridge._transport.incoming import DIRECT_REPLY_TO, SERVER_NAMED, RabbitRequest
from rabibridge._transport.redelivery_counter import RedeliveryCounter
from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiormq.abc import AbstractChannel

    from rabibridge._amqp.frames import Frames, Properties
    from rabibridge._transport.consumer import RabbitConsumer
    from rabibridge._transport.republish import Done
    from rabibridge._transport.worker_session import WorkerSession
    from rabibridge_core.transport import Reply

__all__ = ["ServiceChannel", "acks"]

_log = logging.getLogger(__name__)
_METHODS_KEPT = 1024
_ACCESS_REFUSED = 403
_NO_ROUTE = 312


class ServiceChannel(FastChannel):
    """Takes requests and settles them, the reply always before the acknowledgement.

    What is acknowledged in one turn of the loop is acknowledged behind all replies of that turn, with one frame as far
    as nothing below it is still in hand: an acknowledgement costs a broker about as much as a message.
    """

    def __init__(self, serving: WorkerSession, channel: AbstractChannel, consumer: RabbitConsumer) -> None:
        """Serve the queue of ``consumer`` on a channel; tell it when the lane takes nothing more, or holds nothing."""
        session, queue = serving.session, consumer.queue
        super().__init__(session.tap, channel.number, session.max_payload, session.max_body)
        self.unsettled = 0
        self.gone = False  # the queue was deleted: nothing more arrives, what is in hand can still be answered
        self.consumer = consumer
        self._serving = serving
        self._queue = queue
        counted = queue.redelivery_limit is not None and queue.queue_type == "classic"  # quorum queues count
        self._counting = RedeliveryCounter(self, channel, serving) if counted else None
        self._events = consumer.events
        self._methods: dict[bytes, bytes] = {}
        self._unacknowledged: dict[int, None] = {}  # tags as they came, which is from the lowest up
        self._acknowledged: list[int] = []  # in this turn of the loop

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        """Hand a request to the service; one that comes again is counted first."""
        self.unsettled += 1
        self._unacknowledged[tag] = None
        request = RabbitRequest(self, tag, redelivered, properties, body)
        if request.redelivered and self._counting is not None:
            self._counting.take(request, tag, again=redelivered)
        else:
            self._events.received(request)

    def dead_letter(self, request: RabbitRequest, reason: str, done: Done) -> None:
        """Put a request into the dead-letter queue; ``done`` is told once it is there, or why it cannot be."""
        self._serving.parking.dead_letter(request, self._queue, reason, done)

    def reply(self, properties: Properties, reply: Reply) -> Frames:
        """Return the frames that send the reply."""
        method = self._methods.get(properties.reply_to) or self._method_to(properties.reply_to)
        usual = encode_simple_reply(self.number, method, properties.correlation_id, reply, self.max_payload)
        return usual or self._frames(method, properties, reply)

    def _frames(self, method: bytes, properties: Properties, reply: Reply) -> Frames:
        flags, encoded = encode_properties(
            reply.content_type.encode() if reply.content_type else b"",
            reply.content_encoding.encode() if reply.content_encoding else b"",
            encode_table(reply.headers) if reply.headers else b"",
            properties.correlation_id,
        )
        return content(self.number, method, flags, encoded, reply.body, self.max_payload)

    def _method_to(self, reply_to: bytes) -> bytes:
        if len(self._methods) >= _METHODS_KEPT:
            self._methods.clear()
        # RabbitMQ before 4.2 returns a mandatory direct reply although it delivers it.
        mandatory = not reply_to.startswith(DIRECT_REPLY_TO)
        method = self._methods[reply_to] = publish_method(self.number, b"", reply_to, mandatory=mandatory)
        return method

    def probe(self, reply_to: bytes) -> None:
        """Send nothing to a caller; it comes back if the caller is gone."""
        self.write(content(self.number, self._method_to(reply_to), 0, b"", b"", self.max_payload))

    def settle(self, frames: Frames, tag: int) -> None:
        """Write ``frames`` and acknowledge the request of this tag, if it is not 0: it is settled."""
        if self.open:
            self.unsettled -= 1
            if frames:
                self._tap.write(frames)
            if tag:
                if not self._acknowledged:
                    self._tap.write_behind(self._acks)
                self._acknowledged.append(tag)
                self._unacknowledged.pop(tag, None)
            if not self.unsettled:
                self.consumer.ended(self, None)

    def accept(self, tag: int) -> None:
        """Acknowledge the request of this tag, before whatever is written from now on: its handler begins."""
        self._unacknowledged.pop(tag, None)
        self.write(ack(self.number, tag))

    def give_back(self, tag: int, *, requeue: bool) -> None:
        """Reject the request of this tag: it is settled."""
        self._unacknowledged.pop(tag, None)
        self.settle(reject(self.number, tag, requeue=requeue), 0)

    def _acks(self) -> bytes:
        """Return what acknowledges the requests of this turn."""
        tags, self._acknowledged = self._acknowledged, []
        return acks(self.number, tags, next(iter(self._unacknowledged), None)) if self.open else b""

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        """Tell the services that a caller is gone: its queue takes no reply, and will never be again."""
        if code == _NO_ROUTE and key.startswith(SERVER_NAMED):
            self._serving.caller_gone(key)

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        """Wonder: this channel has no confirms."""
        _log.warning("a confirm on channel %d, which has none", self.number)

    def closed(self, error: ConnectionLostError) -> None:
        """Give up what is in hand."""
        self._events.lost(error)
        if self.close_code == _ACCESS_REFUSED:
            self.consumer.ended(
                self, permission_error(self._serving.session.endpoint, "amq.default", "every reply", error)
            )
        else:
            self.consumer.ended(self, error)

    def cancelled(self) -> None:
        """Take no more: the queue was deleted."""
        self.gone = True
        self.consumer.ended(self, ConnectionLostError("the queue was deleted"))


def acks(channel: int, tags: Sequence[int], lowest: int | None) -> bytes:
    """Return the frames that acknowledge ``tags`` and no other.

    Args:
        channel: the channel number.
        tags: none of them is acknowledged yet.
        lowest: the lowest of all other tags that are not acknowledged; ``None``: there is no other.
    """
    below = tags if lowest is None else [tag for tag in tags if tag < lowest]
    frames = [ack(channel, max(below), multiple=len(below) > 1)] if below else []
    if len(below) < len(tags):
        frames += [ack(channel, tag) for tag in tags if lowest is not None and tag > lowest]
    return b"".join(frames)
