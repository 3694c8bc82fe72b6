"""The two ends of a memory transport: the caller that sends requests, the consumer that takes them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from rabibridge_core.errors import ConnectionLostError
from rabibridge_testing._memory.delivery import Delivery
from rabibridge_testing._memory.queue import MemoryQueue

if TYPE_CHECKING:
    from rabibridge_core.transport import CallerEvents, ConsumerEvents, Refusal, Reply, Request, ServiceQueue
    from rabibridge_testing._memory.messages import Message
    from rabibridge_testing._memory.transport import MemoryTransport

__all__ = ["MemoryCaller", "MemoryConsumer"]


class MemoryCaller:
    """Sends requests to the broker. It has another reply address after each reconnect, as an exclusive queue has.

    Attributes:
        address: where replies are sent; ``None`` without a connection.
    """

    def __init__(self, transport: MemoryTransport, events: CallerEvents) -> None:
        """Tell ``events`` of the requests sent here."""
        self.transport = transport
        self.events = events
        self.address: int | None = None
        self._unconfirmed: set[bytes] = set()

    @property
    def paused(self) -> bool:
        """Whether there is no connection, or the broker has blocked it."""
        return self.address is None or self.transport.broker.alarm is not None

    @property
    def why_paused(self) -> str:
        """Which of the two, and why; empty where neither."""
        broker = self.transport.broker
        if self.address is None:
            return f"there is no connection: {self.transport.last_error or 'the transport is closed'}"
        return "" if broker.alarm is None else f"the memory broker {broker.name!r} takes nothing: {broker.alarm}"

    async def writable(self) -> None:
        """Wait for a connection that is not blocked.

        Raises:
            ConnectionLostError: the transport is closed; ``executed`` is ``False``.
        """
        while True:
            await self.transport.wait_ready()
            if not self.paused:
                return
            await self.transport.wait_unblocked()

    def send(self, request: Request, /) -> None:
        """Put one request on its way; nothing comes back before this returns.

        Raises:
            ConnectionLostError: there is no connection; ``executed`` is ``False``.
        """
        if self.address is None:
            raise ConnectionLostError(f"{self.transport.name} has no connection: nothing was sent", executed=False)
        self._unconfirmed.add(request.correlation_id)
        self.transport.broker.publish(request, self.address)

    def cancel(self, routing_key: str, correlation_id: bytes, /) -> None:
        """Tell the workers of a service that nobody waits for this request; without effect without a connection."""
        if self.address is not None:
            self.transport.broker.cancel(routing_key, self.address, correlation_id)

    def lost(self, error: ConnectionLostError) -> None:
        """Tell that the connection has gone, and what the broker had not confirmed."""
        unconfirmed, self._unconfirmed = self._unconfirmed, set()
        self.events.lost(error, unconfirmed)

    def confirm_arrived(self, address: int, correlation_id: bytes) -> None:
        """Hear that the broker has a request."""
        if address == self.address:
            self._unconfirmed.discard(correlation_id)

    def reply_arrived(self, address: int, correlation_id: bytes, reply: Reply) -> None:
        """Hand on a reply, unless the connection that it was sent to has gone."""
        if address == self.address:
            self.events.replied(correlation_id, reply)

    def refusal_arrived(self, address: int, correlation_id: bytes, refusal: Refusal, detail: str) -> None:
        """Hand on a refusal, unless the connection that it was sent to has gone."""
        if address == self.address:
            self._unconfirmed.discard(correlation_id)
            self.events.refused(correlation_id, refusal, detail)


class MemoryConsumer:
    """Takes requests from one queue.

    Attributes:
        spec: the queue as it was asked for.
        queue: the queue in the broker.
        fetch_size: how many requests it may have in hand.
        unsettled: those that it has, in the order in which it was given them.
        answering: those that were accepted and are not answered yet; they count no more.
        error: why no requests arrive, where trying again does not help.
    """

    def __init__(self, transport: MemoryTransport, spec: ServiceQueue, events: ConsumerEvents) -> None:
        """Tell ``events`` of requests, once :meth:`start` was called."""
        self.transport = transport
        self.broker = transport.broker
        self.spec = spec
        self.queue = MemoryQueue(spec)  # none in the broker yet
        self.fetch_size = spec.fetch_size
        self.unsettled: dict[Delivery, None] = {}
        self.answering: dict[Delivery, None] = {}
        self.error: Exception | None = None
        self.stopped = False
        self._events = events
        self._consuming = False

    @property
    def live(self) -> bool:
        """Whether requests arrive."""
        return self._consuming

    @property
    def in_hand(self) -> bool:
        """Whether requests have arrived that are not answered."""
        return bool(self.answering) or any(delivery.handed_over for delivery in self.unsettled)

    def start(self, queue: MemoryQueue) -> None:
        """Take requests from ``queue``, as on each new connection."""
        self.queue = queue
        self.spec = replace(self.spec, redeclare=False)  # once is what was asked for: it may be another worker's later
        self.error = None
        self._consuming = True
        queue.add(self)

    async def stop(self) -> None:
        """Take no more requests. Those in hand can still be settled; stopping twice does no harm."""
        if not self.stopped:
            self.stopped = True
            self.cancel()
            self._forget_if_done()

    def cancel(self, error: Exception | None = None) -> None:
        """Take no more requests; what is on its way goes back to the queue as if it had never left."""
        self._end([delivery for delivery in self.unsettled if not delivery.handed_over], error)

    def disconnect(self, *, for_good: bool) -> None:
        """Give everything back, because the connection has gone: what was in hand is void.

        What was accepted can be answered on the next connection, unless there is none (``for_good``).
        """
        if for_good:
            for delivery in self.answering:
                delivery.void = True
            self.answering.clear()
        self._end(list(self.unsettled), None)

    def _end(self, given_back: list[Delivery], error: Exception | None) -> None:
        self._consuming = False
        self.error = error
        self.queue.remove(self)
        for delivery in given_back:
            delivery.void = True
            delivery.message.deliveries += delivery.handed_over
            del self.unsettled[delivery]
        self.queue.put_back(delivery.message for delivery in given_back if delivery.queue is self.queue)

    def take(self, message: Message) -> None:
        """Accept a request from the queue; it counts from now on and arrives in the next turn of the loop."""
        delivery = Delivery(message, self)
        self.unsettled[delivery] = None
        self.transport.loop.call_soon(self._hand_over, delivery)

    def settled(self, delivery: Delivery) -> None:
        """Make room."""
        self.unsettled.pop(delivery, None)
        self.answering.pop(delivery, None)
        self._forget_if_done()
        self.queue.dispatch()

    def accepted(self, delivery: Delivery) -> None:
        """Make room, and remember that an answer is to come."""
        del self.unsettled[delivery]
        self.answering[delivery] = None
        self.queue.dispatch()

    def cancelled(self, caller: bytes, correlation_id: bytes) -> None:
        """Tell that nobody waits for this request."""
        self._events.cancelled(caller, correlation_id)

    def caller_gone(self, caller: bytes) -> None:
        """Tell that nobody waits for any request of this caller."""
        self._events.caller_gone(caller)

    def lost(self, error: ConnectionLostError) -> None:
        """Tell that the connection has gone."""
        self._events.lost(error)

    def _hand_over(self, delivery: Delivery) -> None:
        if not delivery.void:
            delivery.handed_over = True
            self._events.received(delivery)

    def _forget_if_done(self) -> None:
        if self.stopped and not self.unsettled and not self.answering:
            self.transport.forget(self)
