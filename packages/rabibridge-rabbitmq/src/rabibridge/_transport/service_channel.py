"""The channel of one service: receives requests, sends replies and acknowledgements."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from rabibridge._amqp.bundles import encode_record
from rabibridge._amqp.control_methods import CANCEL_OK, CONSUME_OK, QOS_OK, cancel, consume, qos
from rabibridge._amqp.fast_path import encode_simple_reply
from rabibridge._amqp.frames import content
from rabibridge._amqp.headers import BUNDLES_FIELD
from rabibridge._amqp.methods import ACCESS_REFUSED, NO_ROUTE, ack, reject
from rabibridge._amqp.reply_to import DIRECT_REPLY_TO
from rabibridge._connection.error_translation import permission_error
from rabibridge._connection.names import SERVER_NAMED
from rabibridge._connection.own_channel import OwnChannel
from rabibridge._transport.incoming import RabbitRequest
from rabibridge._transport.interfaces import ServedQueue
from rabibridge._transport.outgoing_bundles import BundledReply, ReplyBundles
from rabibridge._transport.redelivery_counter import RedeliveryCounter
from rabibridge._transport.replies import reply_properties
from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from rabibridge._amqp.properties import Properties
    from rabibridge._transport.interfaces import CallKey, Done, PartFeeder, ReplyFrames
    from rabibridge._transport.worker_session import WorkerSession
    from rabibridge_core.errors import ConfigurationError
    from rabibridge_core.transport import ConsumerEvents, IncomingRequest, Reply, ServiceQueue

__all__ = ["ChannelOwner", "ServiceChannel", "acks"]

_CONSUMER_TAGS = b"rpc", b"rpc2"  # the next consumer starts before the one before it is cancelled
_new_tuple = tuple.__new__  # takes half the time of the constructor of a NamedTuple


class ChannelOwner(ServedQueue, Protocol):
    """What a service channel uses of the consumer that owns it."""

    def ended(self, channel: ServiceChannel, error: ConnectionLostError | ConfigurationError | None) -> None:
        """Called when the channel receives no more requests (``error`` is the reason), or when none is unsettled."""
        ...


class ServiceChannel(OwnChannel):
    """Receives requests and settles them, sending each reply before its acknowledgement.

    Requests that are settled in one turn of the loop are acknowledged after all replies of that turn, with a single
    frame if no lower delivery tag is unsettled: an acknowledgement costs a broker about as much as a message. Replies
    of one turn to one caller leave in bundles, if it reads them.
    """

    tells_exchanges = True

    def __init__(self, worker_session: WorkerSession, consumer: ChannelOwner, queue: ServiceQueue) -> None:
        """Open a channel for the requests of ``consumer`` from ``queue``, as it is on the broker.

        Raises:
            ConfigurationError: all channels that the broker allows on this connection are open.
        """
        super().__init__(worker_session.session, worker_session.session.max_body)
        self.unsettled = 0
        self.queue_deleted = False  # no more requests arrive, but unsettled ones can still be answered
        self.consumer = consumer
        self._worker_session = worker_session
        self._replies = worker_session.replies
        self._queue, self._tags = queue, _CONSUMER_TAGS
        counted = queue.redelivery_limit is not None and queue.queue_type == "classic"  # quorum queues count themselves
        self._redelivery_counter = RedeliveryCounter(self, worker_session) if counted else None
        self._events = consumer.events
        self._unacknowledged: dict[int, None] = {}  # delivery tags in order of arrival, which is ascending
        self._acknowledged: list[int] = []  # in this turn of the loop
        self._bundles = ReplyBundles(self.number)
        self._flush_requested = False

    async def consume(self) -> None:
        """Receive requests from now on.

        Raises:
            AMQPError: as aiormq, if the broker refuses.
            ConnectionLostError: the connection is lost.
        """
        methods = qos(self._queue.fetch_size), consume(self._queue.name, self._tags[0])
        await self.request(methods, QOS_OK, CONSUME_OK)

    async def set_fetch_size(self, fetch_size: int) -> None:
        """Consume with another prefetch count, which RabbitMQ applies to new consumers only: start one, stop the other.

        What the other one has received does not count for the new one, and can be settled.
        """
        self._queue, self._tags = replace(self._queue, fetch_size=fetch_size), self._tags[::-1]
        methods = qos(fetch_size), consume(self._queue.name, self._tags[0]), cancel(self._tags[1])
        await self.request(methods, QOS_OK, CONSUME_OK, CANCEL_OK)

    async def cancel(self) -> None:
        """Receive no more requests; those that have arrived can still be settled."""
        await self.request((cancel(self._tags[0]),), CANCEL_OK)

    async def synchronize(self) -> None:
        """Wait until the broker has processed all that was sent on the channel."""
        await self.request((qos(self._queue.fetch_size),), QOS_OK)

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        """Pass a request to the service; a redelivered one is counted first."""
        self.unsettled += 1
        self._unacknowledged[tag] = None
        request = RabbitRequest(self, tag, redelivered, properties, body)
        if request.caller not in self._publish_methods and not self._accept_reply_to(request):
            return
        if request.redelivered and self._redelivery_counter is not None:
            self._redelivery_counter.receive(request, tag, uncounted=redelivered)
        else:
            self._events.received(request)

    @property
    def user_id(self) -> bytes:
        """The user of this connection."""
        return self._worker_session.session.user_id

    @property
    def address(self) -> str:
        """Where callers can send further messages of their calls; empty if the service takes none."""
        return self._worker_session.streams.address if self.consumer.queue.streams else ""

    def feeds_to(self, call: CallKey, sender: PartFeeder) -> None:
        """Pass the further messages of a call to the consumer of ``sender``, as long as that exists."""
        self._worker_session.feeding[call] = sender

    def _accept_reply_to(self, request: RabbitRequest) -> bool:
        """Check an address that a request names for the first time; set the request aside if it is not allowed."""
        refusal = self._replies.refusal(request.caller)
        if refusal:
            request.dead_letter(f"queue {self._queue.name!r}: {refusal}")
        else:
            self._reply_method(request.caller)
        return not refusal

    def refuse_deliveries(self) -> None:
        """Return the requests that arrive from now on to the queue: the service has stopped."""
        self._events = _Refusing(self._events)

    def dead_letter(self, request: RabbitRequest, reason: str, done: Done) -> None:
        """Publish a request to the dead-letter queue and call ``done`` with the outcome."""
        self._worker_session.publisher.dead_letter(request, self._queue, reason, done)

    def encode_reply(self, properties: Properties, reply: Reply) -> ReplyFrames:
        """Return the frames that send the reply to the request with these properties.

        Nothing is returned if the broker may close the channel for it: :meth:`reply_apart` sends it.
        """
        method = self._publish_methods.get(properties.reply_to)
        if method is None:
            method = self._reply_method(properties.reply_to)
            if not method:
                return b""
        replies = self._replies
        if properties[2].startswith(BUNDLES_FIELD, 4) and len(reply[0]) <= replies.one_frame:
            record = encode_record(properties.correlation_id, reply)
            if record:
                return _new_tuple(BundledReply, (properties.reply_to, method, record))
        simple = encode_simple_reply(self.number, method, properties.correlation_id, reply, replies.one_frame)
        if self._bundles.waiting and (earlier := self._bundles.take(properties.reply_to, replies.bundle_size())):
            self._multiplexer.write(earlier)
        if simple or len(reply.body) > replies.accepted:
            return simple
        flags, encoded = reply_properties(properties.correlation_id, reply, self.max_payload)
        return content(self.number, method, flags, encoded, reply.body, self.max_payload)

    def reply_apart(self, properties: Properties, reply: Reply, done: Done) -> None:
        """Send a reply where that harms no other request, and call ``done`` with the outcome."""
        self._replies.send(properties, reply, done)

    def try_size(self, properties: Properties, reply: Reply, done: Done) -> bool:
        """Find out whether the broker accepts a body as large as that of ``reply``, if nothing else is in doubt."""
        if self._replies.is_doubtful(properties.reply_to):
            return False
        self._replies.try_size(len(reply.body), done)
        return True

    def _reply_method(self, reply_to: bytes) -> bytes:
        """Return the method that publishes to this queue, nothing if the broker may close the connection for it."""
        if self._replies.is_doubtful(reply_to):
            return b""
        # RabbitMQ before 4.2 returns mandatory direct replies although it delivers them.
        mandatory = not reply_to.startswith(DIRECT_REPLY_TO)
        return self._add_publish_method(reply_to, b"", reply_to, mandatory=mandatory)

    def unconfirmed(self) -> asyncio.Future[None] | None:
        """Return what is done once no reply waits for its confirm; ``None`` if none does: here, none ever does."""
        return None

    def probe(self, reply_to: bytes) -> None:
        """Send an empty message to a caller, which the broker returns if the caller is disconnected."""
        self.write(content(self.number, self._reply_method(reply_to), 0, b"", b"", self.max_payload))

    def write(self, frames: ReplyFrames) -> None:
        """Send complete frames of this channel; they are dropped if it is closed."""
        if not self.open:
            return
        if not isinstance(frames, BundledReply):
            self._multiplexer.write(frames)
            return
        if not self._flush_requested:
            self._request_flush()
        if self._bundles.add(frames):
            self._multiplexer.write(self._bundles.take(frames.reply_to, self._replies.bundle_size()))

    def settle(self, frames: ReplyFrames, tag: int) -> None:
        """Send ``frames``, then acknowledge the request with this tag unless it is 0; the request is settled."""
        if self.open:
            self.unsettled -= 1
            if frames:
                self.write(frames)
            if tag:
                if not self._flush_requested:
                    self._request_flush()
                self._acknowledged.append(tag)
                self._unacknowledged.pop(tag, None)
            if not self.unsettled:
                self.consumer.ended(self, None)

    def accept(self, tag: int) -> None:
        """Acknowledge the request with this tag at once, because its handler starts; the reply follows later."""
        self._unacknowledged.pop(tag, None)
        self.write(ack(self.number, tag))

    def reject(self, tag: int, *, requeue: bool) -> None:
        """Reject the request with this tag; it is settled."""
        self._unacknowledged.pop(tag, None)
        self.settle(reject(self.number, tag, requeue=requeue), 0)

    def _request_flush(self) -> None:
        self._flush_requested = True
        self._multiplexer.write_at_flush(self._encode_rest)

    def _encode_rest(self) -> bytes:
        """Return the frames that end this turn of the loop: replies that were kept, then the acknowledgements."""
        self._flush_requested = False
        tags, self._acknowledged = self._acknowledged, []
        replies = self._bundles.take_all(self._replies.bundle_size()) if self._bundles.waiting else b""
        return replies + acks(self.number, tags, next(iter(self._unacknowledged), None)) if self.open else b""

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        """Notify the services that a caller is gone: its reply queue no longer exists."""
        if code == NO_ROUTE and key.startswith(SERVER_NAMED):
            self._worker_session.caller_gone(key)

    def closed(self, error: ConnectionLostError) -> None:
        """Report that all unsettled requests are lost."""
        self._replies.learn(self.close_code, self.close_text)
        self._events.lost(error)
        if self.close_code == ACCESS_REFUSED:
            endpoint = self._worker_session.session.endpoint
            self.consumer.ended(self, permission_error(endpoint, "amq.default", "every reply", error))
        else:
            self.consumer.ended(self, error)

    def cancelled(self) -> None:
        """Report that no more requests arrive because the queue was deleted; those that are here can be answered."""
        self.queue_deleted, error = True, ConnectionLostError("the queue was deleted")
        self._events.lost(error)  # the next channel may bring as many as a service has places
        self.consumer.ended(self, error)


class _Refusing:
    """The events of a service that has stopped, while the broker cannot be told."""

    def __init__(self, events: ConsumerEvents) -> None:
        self.lost = events.lost
        self.cancelled = events.cancelled
        self.caller_gone = events.caller_gone
        self.fed = events.fed
        self.broadcast_received = events.broadcast_received
        self.reply_refused = events.reply_refused

    def received(self, request: IncomingRequest, /) -> None:
        request.reject(requeue=True)


def acks(channel: int, tags: Sequence[int], lowest: int | None) -> bytes:
    """Return the frames that acknowledge ``tags`` and no other delivery.

    Args:
        channel: channel number.
        tags: delivery tags, none of them acknowledged yet.
        lowest: the lowest other delivery tag that is not acknowledged, ``None`` if there is no other.
    """
    below = tags if lowest is None else [tag for tag in tags if tag < lowest]
    frames = [ack(channel, max(below), multiple=len(below) > 1)] if below else []
    if len(below) < len(tags):
        frames += [ack(channel, tag) for tag in tags if lowest is not None and tag > lowest]
    return b"".join(frames)
