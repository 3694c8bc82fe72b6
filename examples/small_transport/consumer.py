"""The end of the transport that takes requests from a queue: a Consumer, and what its requests call."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from broker import Message, Queue, RefusedError, Subscription
from rabibridge_core.errors import ConfigurationError, ConnectionLostError, ContentRejectedError
from rabibridge_core.transport import ConsumerEvents, HeldBroadcast, HeldRequest, Reply, ServiceQueue

if TYPE_CHECKING:
    from link import Link
    from transport import SmallTransport


class Held(HeldRequest):
    """One request from the queue."""

    __slots__ = ("message", "queue", "subscription")

    def __init__(self, consumer: SmallConsumer, message: Message) -> None:
        super().__init__(consumer)
        request = message.request
        self.message, self.queue, self.subscription = message, consumer.queue, consumer.subscription
        self.correlation_id, self.body, self.headers = request.correlation_id, request.body, request.headers or {}
        self.content_type, self.content_encoding = request.content_type, request.content_encoding
        self.time_left, self.deadline = request.timeout, message.deadline
        self.persistent, self.deliveries = request.persistent, message.deliveries
        self.caller, self.wants_reply = message.reply_to.encode(), bool(message.reply_to)
        self.user = ""


class HeldByAll(HeldBroadcast, Held):
    """One broadcast."""

    __slots__ = ()


class SmallConsumer:
    def __init__(self, transport: SmallTransport, spec: ServiceQueue, events: ConsumerEvents) -> None:
        self.spec, self.events, self._transport = spec, events, transport
        self.error: Exception | None = None
        self.link: Link | None = None
        self.stopped = False
        self.queue = Queue(spec)  # a placeholder until start()
        self.subscription: Subscription = Subscription(0, print)
        self.unsettled: list[Held] = []
        self.answering: list[Held] = []  # accepted: settled for the broker, not yet answered

    @property
    def live(self) -> bool:
        return self.link is not None and not self.stopped

    @property
    def address(self) -> str:
        return self.link.address if self.link is not None and self.spec.streams else ""

    def start(self, link: Link) -> None:
        """Called with each new connection, and when the queue was deleted: nothing survives either."""
        broker = self._transport.broker
        try:
            self.queue = broker.declare(self.spec)
        except RefusedError as error:
            self.error = ConfigurationError(str(error))
            raise self.error from error
        self.spec = replace(self.spec, redeclare=False)  # only once: later the queue may be another worker's
        self.link, self.error = link, None
        subscription = Subscription(
            self.spec.fetch_size, lambda message: link.arrived("request", self, subscription, message)
        )
        self.subscription = subscription
        broker.listen(link.token, self.spec.routing_keys)
        self.queue.subscriptions.append(subscription)
        self.queue.dispatch()

    async def stop(self) -> None:
        if not self.stopped:
            self.stopped = True
            if self.subscription in self.queue.subscriptions:
                self.queue.subscriptions.remove(self.subscription)
            self._forget_if_done()

    def arrived(self, subscription: Subscription, message: Message) -> None:
        if subscription is not self.subscription or self.link is None:
            return  # of a connection that is lost
        if self.stopped:
            message.deliveries -= 1  # it has reached nobody
            self.queue.release(subscription, message.sequence, requeue=True)
            return
        held = Held(self, message)
        self.unsettled.append(held)
        self.events.received(held)

    def disconnect(self) -> None:
        """What is unsettled is void, and goes to others."""
        self.link = None
        self.queue.end(self.subscription)
        for held in self.unsettled:
            held.void = True
        self.unsettled.clear()

    # What HeldRequest calls:

    def refusal(self, reply: Reply, /) -> ContentRejectedError | None:
        return self._transport.refusal(reply.body, "the reply")

    def reply_refused(self, request: Held, error: ContentRejectedError, /) -> None:
        self._transport.soon(self.events.reply_refused, request, error)

    def send_reply(self, request: Held, reply: Reply, /) -> None:
        self._transport.reply(request.caller, request.correlation_id, reply)

    def keep_dead(self, request: Held, reason: str, /) -> None:
        self._transport.broker.dead_letters.append((self.spec.name, request.correlation_id, reason))

    def probe(self, request: Held, /) -> None:
        self._transport.probe(request.caller)

    def accepted(self, request: Held, /) -> None:
        self._leave_queue(request, requeue=False)
        self.answering.append(request)

    def settled(self, request: Held, /) -> None:
        self._leave_queue(request, requeue=False)
        self._forget_if_done()

    def given_back(self, request: Held, /) -> None:
        self._leave_queue(request, requeue=True)
        self._forget_if_done()

    def _leave_queue(self, request: Held, *, requeue: bool) -> None:
        for held in (self.unsettled, self.answering):
            if request in held:
                held.remove(request)
        request.queue.release(request.subscription, request.message.sequence, requeue=requeue)

    def _forget_if_done(self) -> None:
        if self.stopped and not self.unsettled and not self.answering:
            self._transport.forget(self)

    def holds(self, caller: bytes, correlation_id: bytes) -> bool:
        return any(
            (held.caller, held.correlation_id) == (caller, correlation_id)
            for held in (*self.unsettled, *self.answering)
        )

    def lost(self, error: ConnectionLostError) -> None:
        self.events.lost(error)

    def broadcast_arrived(self, message: Message) -> None:
        if not self.stopped:
            self.events.broadcast_received(HeldByAll(self, message))
