"""The end of a memory transport that receives requests from a queue and answers them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from rabibridge_core._protocol.broker_texts import too_large
from rabibridge_core.errors import ContentRejectedError
from rabibridge_core.transport import ConnectionState
from rabibridge_testing._memory.consumer_news import ConsumerNews
from rabibridge_testing._memory.delivery import BroadcastDelivery, Delivery
from rabibridge_testing._memory.fetch_sizes import FetchSizes
from rabibridge_testing._memory.queue import MemoryQueue
from rabibridge_testing._memory.threads import locked, post

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from threading import RLock

    from rabibridge_core.errors import ConnectionLostError
    from rabibridge_core.transport import ConsumerEvents, Reply, ServiceQueue
    from rabibridge_testing._memory.messages import Message

__all__ = ["ConsumerHost", "ConsumerRouter", "MemoryConsumer"]


class ConsumerRouter(Protocol):
    """What a consumer uses of the broker.

    Attributes:
        max_message_size: the largest reply that it accepts, in bytes; ``None``: no limit.
        lock: held by whatever changes the broker.
    """

    max_message_size: int | None
    lock: RLock

    def reply(self, message: Message, reply: Reply, worker: ConsumerHost) -> None:
        """Send a reply to the caller of ``message``."""
        ...

    def probe(self, message: Message, worker: ConsumerHost) -> None:
        """Tell ``worker`` if the caller of ``message`` has disconnected."""
        ...

    def dead_letter(self, message: Message, queue: str, reason: str) -> None:
        """Store a request as a dead letter."""
        ...


class ConsumerHost(Protocol):
    """What a consumer uses of the transport that it belongs to.

    Attributes:
        loop: the event loop that the transport is connected on.
        address: where callers send further messages of calls that it processes.
    """

    loop: asyncio.AbstractEventLoop
    address: str

    @property
    def broker(self) -> ConsumerRouter:
        """The broker."""
        ...

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        ...

    def act(self, do: Callable[[], None], *, publishes: bool = False) -> None:
        """Do what the broker does when it reads something of this connection, once it reads it."""
        ...

    def consumer_cancelled(self, consumer: MemoryConsumer) -> None:
        """Called when the queue of ``consumer`` was deleted."""
        ...

    def caller_gone(self, caller: bytes) -> None:
        """Called when a caller has disconnected."""
        ...

    def forget(self, consumer: MemoryConsumer) -> None:
        """Drop a consumer that is stopped and has nothing unsettled."""
        ...


class MemoryConsumer(FetchSizes, ConsumerNews):
    """Receives requests from one queue.

    Attributes:
        spec: the queue as requested.
        queue: the queue in the broker.
        fetch_size: how many requests it may hold unsettled.
        unsettled: the requests that it holds, in the order in which it took them.
        answering: requests that were accepted and have no reply yet; they do not count against ``fetch_size``.
        error: why no requests arrive, if trying again does not help.
    """

    def __init__(self, transport: ConsumerHost, spec: ServiceQueue, events: ConsumerEvents) -> None:
        """Create a consumer that reports to ``events`` once :meth:`start` was called."""
        self.transport = transport
        self.broker = transport.broker
        self.spec = spec
        self.queue = MemoryQueue(spec)  # a placeholder until start(): no broker knows it
        self.fetch_size = spec.fetch_size
        self.unsettled: dict[Delivery, None] = {}
        self.answering: dict[Delivery, None] = {}
        self.error: Exception | None = None
        self.stopped = False
        self._events = events
        self._consuming = False
        self._channel = object()

    @property
    def lock(self) -> RLock:
        """The lock of the broker."""
        return self.broker.lock

    @property
    def live(self) -> bool:
        """Whether requests arrive."""
        return self._consuming

    @property
    def address(self) -> str:
        """Where callers send further messages of their calls; empty if the service takes none."""
        return self.transport.address if self.spec.streams else ""

    @property
    def busy(self) -> bool:
        """Whether the worker has received requests that it has not answered."""
        return bool(self.answering) or any(delivery.handed_over for delivery in self.unsettled)

    @locked
    def start(self, queue: MemoryQueue) -> None:
        """Take requests from ``queue``; called again on each new connection."""
        self.queue = queue
        self.spec = replace(self.spec, redeclare=False)  # only once: later the queue may be another worker's
        self.error, self._consuming = None, True
        queue.add(self)

    async def stop(self) -> None:
        """Take no more requests. Unsettled ones can still be settled. Stopping twice does no harm."""
        if not self.stopped:
            self.stopped = True
            self.cancel()
            self._forget_if_done()

    @locked
    def cancel(self) -> None:
        """Take no more requests; those that have not reached the worker return to the queue, not as redelivered."""
        self._end([delivery for delivery in self.unsettled if not delivery.handed_over])

    @locked
    def disconnect(self, *, for_good: bool) -> None:
        """Requeue all unsettled requests because the connection is lost; they are void here.

        Accepted requests can be answered on the next connection, unless the transport is closed (``for_good``).
        """
        if for_good:
            for delivery in self.answering:
                delivery.void = True
            self.answering.clear()
        self._end(list(self.unsettled))

    @locked
    def lose_channel(self, error: ConnectionLostError) -> None:
        """Requeue all unsettled requests because the broker has closed the channel, and consume on another one.

        What was sent on it and the broker has not read is lost. Accepted requests can be answered on the next one.
        """
        if self._consuming or self.unsettled:  # else there is none
            self._channel = object()
            self._end(list(self.unsettled))
            post(self.transport.loop, self.lost, error)
            self.transport.consumer_cancelled(self)  # opens the next one
            self._forget_if_done()

    def _act(self, do: Callable[[], None], *, publishes: bool = False) -> None:
        """Do something on this channel, unless that is lost before the broker reads it."""
        channel = self._channel
        self.transport.act(lambda: do() if channel is self._channel else None, publishes=publishes)

    def _end(self, returned: list[Delivery]) -> None:
        self._consuming = False
        self.error = None
        self.queue.remove(self)
        for delivery in returned:
            delivery.void = not delivery.accepted  # the broker has not read yet that it was accepted
            delivery.message.deliveries += delivery.handed_over
            del self.unsettled[delivery]
        back = [one.message for one in returned if one.queue is self.queue and not one.replaced]
        self.queue.put_back(back)

    def take(self, message: Message) -> None:
        """Take a request from the queue. It counts at once, and reaches the worker in the next turn of the loop."""
        delivery = Delivery(message, self)
        self.unsettled[delivery] = None
        uncounted, message.counted = message.deliveries != message.counted, message.deliveries
        counts = self.queue.spec.queue_type != "quorum" and self.spec.redelivery_limit is not None
        post(self.transport.loop, self._count if uncounted and counts else self._hand_over, delivery)

    @locked
    def _count(self, delivery: Delivery) -> None:
        """Replace a request that comes again by a copy at the end of its queue, which carries the count."""
        if not delivery.void:
            self.transport.act(lambda: self._replace(delivery), publishes=True)

    @locked
    def _replace(self, delivery: Delivery) -> None:
        delivery.replaced = not delivery.void  # before another worker gives the copy back
        if delivery.replaced and delivery.queue.replace_by_copy(delivery.message):
            post(self.transport.loop, self.settled, delivery)  # once the broker has confirmed the copy
        else:
            delivery.replaced = False
            post(self.transport.loop, self._hand_over, delivery)

    def queue_deleted(self) -> None:
        """Called when the queue was deleted."""
        self.transport.consumer_cancelled(self)

    def refusal(self, reply: Reply) -> ContentRejectedError | None:
        """Return why the broker does not accept a reply; ``None`` if it does."""
        limit, size = self.broker.max_message_size, len(reply.body)
        return None if limit is None or size <= limit else ContentRejectedError(too_large("the reply", size, limit))

    def reply_refused(self, delivery: Delivery, error: ContentRejectedError) -> None:
        """Ask for another reply, in the next turn of the loop, to a request that is not settled yet."""
        post(self.transport.loop, self._events.reply_refused, delivery, error)

    def send_reply(self, delivery: Delivery, reply: Reply) -> None:
        """Send a reply; it is lost where there is no connection, which happens only to accepted requests."""
        transport, message = self.transport, delivery.message
        if transport.state is ConnectionState.READY:
            self._act(lambda: self.broker.reply(message, reply, transport), publishes=True)

    def keep_dead(self, delivery: Delivery, reason: str) -> None:
        """Store a request among the broker's dead letters."""
        message, queue = delivery.message, delivery.queue.spec.name
        self.transport.act(lambda: self.broker.dead_letter(message, queue, reason), publishes=True)

    def probe(self, delivery: Delivery) -> None:
        """Ask the broker whether the caller is still connected."""
        self.broker.probe(delivery.message, self.transport)

    def settled(self, delivery: Delivery) -> None:
        """Called when a delivery was settled for good: take the next request."""
        self._act(lambda: self._release(delivery))

    def given_back(self, delivery: Delivery) -> None:
        """Called when a delivery was given back: return it to its queue, and take the next request."""
        self._act(lambda: self._requeue(delivery))

    def accepted(self, delivery: Delivery) -> None:
        """Called when a delivery was accepted: take the next request, and remember that a reply is to come."""
        self.answering[delivery] = None
        self._act(lambda: self._acknowledge(delivery))

    @locked
    def _release(self, delivery: Delivery) -> None:
        self.unsettled.pop(delivery, None)
        self.answering.pop(delivery, None)
        self._forget_if_done()
        self.queue.freed(self)

    @locked
    def _requeue(self, delivery: Delivery) -> None:
        self._release(delivery)
        delivery.message.deliveries += 1
        delivery.queue.put_back([delivery.message])

    @locked
    def _acknowledge(self, delivery: Delivery) -> None:
        del self.unsettled[delivery]
        self.queue.freed(self)

    def broadcast_arrived(self, message: Message) -> None:
        """Called when a broadcast to this service has arrived."""
        self._events.broadcast_received(BroadcastDelivery(message, self))

    @locked
    def holds(self, caller: bytes, correlation_id: bytes) -> bool:
        """Tell whether a request is being processed here."""
        held = (*self.unsettled, *self.answering)
        return any(one.handed_over and (one.caller, one.correlation_id) == (caller, correlation_id) for one in held)

    def _hand_over(self, delivery: Delivery) -> None:
        with self.lock:
            if delivery.void:
                return
            delivery.handed_over = True
        self._events.received(delivery)

    def _forget_if_done(self) -> None:
        if self.stopped and not self.unsettled and not self.answering:
            self.transport.forget(self)
