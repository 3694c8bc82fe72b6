"""The lane of one service: requests in, replies and acknowledgements out, on one channel."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rabibridge.counting import Counting
from rabibridge.errors import permission_error
from rabibridge.frames import ack, content, encode_properties, publish_method
from rabibridge.lane import Lane
from rabibridge.requests import DIRECT_REPLY_TO, SERVER_NAMED, RabbitRequest
from rabibridge.tables import encode_table
from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel

    from rabibridge.consumer import RabbitConsumer
    from rabibridge.copies import Done
    from rabibridge.frames import Properties
    from rabibridge.serving import Serving
    from rabibridge_core.transport import Reply

__all__ = ["ServiceLane"]

_log = logging.getLogger(__name__)
_METHODS_KEPT = 1024
_ACCESS_REFUSED = 403
_NO_ROUTE = 312


class ServiceLane(Lane):
    """Takes requests and settles them, the reply always before the acknowledgement."""

    def __init__(self, serving: Serving, channel: AbstractChannel, consumer: RabbitConsumer) -> None:
        """Serve the queue of ``consumer`` on a channel; tell it when the lane takes nothing more, or holds nothing."""
        session, queue = serving.session, consumer.queue
        super().__init__(session.tap, channel.number, session.max_payload, session.max_body)
        self.unsettled = 0
        self.gone = False  # the queue was deleted: nothing more arrives, what is in hand can still be answered
        self.consumer = consumer
        self._serving = serving
        self._queue = queue
        counted = queue.redelivery_limit is not None and queue.queue_type == "classic"  # quorum queues count
        self._counting = Counting(self, channel, serving) if counted else None
        self._events = consumer.events
        self._methods: dict[bytes, bytes] = {}

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        """Hand a request to the service; one that comes again is counted first."""
        self.unsettled += 1
        request = RabbitRequest(self, tag, redelivered, properties, body)
        if request.redelivered and self._counting is not None:
            self._counting.take(request, tag, again=redelivered)
        else:
            self._events.received(request)

    def bury(self, request: RabbitRequest, reason: str, done: Done) -> None:
        """Put a request into the dead-letter queue; ``done`` is told once it is there, or why it cannot be."""
        self._serving.parking.bury(request, self._queue, reason, done)

    def reply(self, properties: Properties, reply: Reply, tag: int) -> bytes:
        """Return the frames that send the reply, and then acknowledge the request of this tag if it is not 0."""
        method = self._methods.get(properties.reply_to) or self._method_to(properties.reply_to)
        flags, encoded = encode_properties(
            reply.content_type.encode() if reply.content_type else b"",
            reply.content_encoding.encode() if reply.content_encoding else b"",
            encode_table(reply.headers) if reply.headers else b"",
            properties.correlation_id,
        )
        message = content(self.number, flags, encoded, reply.body, self.max_payload)
        return b"".join((method, message, ack(self.number, tag) if tag else b""))

    def _method_to(self, reply_to: bytes) -> bytes:
        if len(self._methods) >= _METHODS_KEPT:
            self._methods.clear()
        # RabbitMQ before 4.2 returns a mandatory direct reply although it delivers it.
        mandatory = not reply_to.startswith(DIRECT_REPLY_TO)
        method = self._methods[reply_to] = publish_method(self.number, b"", reply_to, mandatory=mandatory)
        return method

    def probe(self, reply_to: bytes) -> None:
        """Send nothing to a caller; it comes back if the caller is gone."""
        self.write(self._method_to(reply_to) + content(self.number, 0, b"", b"", self.max_payload))

    def settle(self, frames: bytes) -> None:
        """Write what settles one request."""
        if self.open:
            self.unsettled -= 1
            self._tap.write(frames)
            if not self.unsettled:
                self.consumer.ended(self, None)

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
