"""Routes requests to queues and replies to callers, as a message broker does.

This is what transports use of the in-memory broker. What a test uses to control it (outages, alarms) is in ``broker``.
"""

from __future__ import annotations

from threading import RLock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from rabibridge_core._protocol.broker_texts import (
    FEED_REFUSED,
    NO_ROUTE,
    QUEUE_FULL,
    WORKER_GONE,
    left_behind,
    limits_differ,
    served_elsewhere,
)
from rabibridge_core._protocol.naming import service_of_queue
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError, ConnectionLostError, NoRouteError, QueueFullError
from rabibridge_core.transport import Reply
from rabibridge_testing._memory.attached import AttachedTransport
from rabibridge_testing._memory.caller import MemoryCaller
from rabibridge_testing._memory.messages import DeadLetter, Message, caller_name
from rabibridge_testing._memory.namespaces import key_without
from rabibridge_testing._memory.queue import MemoryQueue, limit_differences
from rabibridge_testing._memory.senders import Senders
from rabibridge_testing._memory.threads import locked, post
from rabibridge_testing.faults import FaultControls, Passage

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from rabibridge_core.transport import Refusal, Request, ServiceQueue
    from rabibridge_testing._memory.consumer import ConsumerHost

__all__ = ["Router"]

_log = get_logger(__name__)


TransportT = TypeVar("TransportT", bound=AttachedTransport)


class Router(Senders, FaultControls, Generic[TransportT]):
    """Queues, routes and reply addresses: see :class:`~rabibridge_testing.MemoryBroker` for the attributes."""

    def __init__(self, name: str, *, trace: bool) -> None:
        """Create a router without queues."""
        super().__init__(tracing=trace)
        self.lock = RLock()
        self.name = name
        self.accepting = True
        self.alarm: str | None = None
        self.max_message_size: int | None = None
        self.dead_letters: list[DeadLetter] = []
        self.transports: list[TransportT] = []
        self.undeliverable_replies = 0
        self._queues: dict[str, MemoryQueue] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {len(self._queues)} queues, {len(self.transports)} transports>"

    def _any_loop(self) -> asyncio.AbstractEventLoop | None:
        return next((one.loop for one in self.transports), None)

    @property
    def queues(self) -> Mapping[str, MemoryQueue]:
        """The queues by name; ``len()`` of a queue is the number of waiting requests."""
        return self._queues

    @locked
    def declare(self, spec: ServiceQueue) -> MemoryQueue:
        """Create the queue unless it exists, bind its routing keys, and return it.

        Raises:
            ConfigurationError: it exists with other limits, and ``spec.redeclare`` is false.
        """
        queue = self._queues.get(spec.name)
        if queue is not None and (differences := limit_differences(queue.spec, spec)):
            if not spec.redeclare:
                raise ConfigurationError(limits_differ(spec.name, differences))
            if queue.consumers:
                raise ConfigurationError(served_elsewhere(spec.name, differences, queue.consumers))
            self.delete_queue(spec.name)
            queue = None
        if queue is None:
            queue = self._queues[spec.name] = MemoryQueue(spec, self._numbers, self.now)
        for key in spec.routing_keys:
            self._routes.bind(key, queue)
        self._settle_other_kind(spec)
        return queue

    def _settle_other_kind(self, spec: ServiceQueue) -> None:
        """Remove the queue of the service's other kind if it is unused and empty, as a worker on RabbitMQ does."""
        other = self._queues.get(spec.other_queue or "")
        if other is None or not spec.any_keys or other.consumers:
            return
        if not other:
            self.delete_queue(other.spec.name)
            return
        left = left_behind(spec.name, other.spec.name, len(other))
        _log.warning("%s", left, extra=log_fields("queue.other_kind", queue=spec.name))
        for key in spec.any_keys if not spec.preferred else ():
            self._routes.unbind(key, other)

    @locked
    def delete_queue(self, name: str) -> None:
        """Delete a queue with its waiting requests; its workers declare it again.

        They can still answer the requests that they are processing. Without effect if there is no such queue.
        """
        queue = self._queues.pop(name, None)
        if queue is None:
            return
        self._routes.remove(queue)
        queue.delete()
        for transport in self.transports:
            transport.queue_deleted()

    @locked
    def delete_unused(self, name: str) -> bool:
        """Delete a queue unless it has consumers or waiting requests; return whether there is none of that name now."""
        queue = self._queues.get(name)
        if queue is not None and (queue.consumers or len(queue)):
            return False
        self.delete_queue(name)
        return True

    @locked
    def attach(self, transport: TransportT, loop: asyncio.AbstractEventLoop) -> None:
        """Connect ``transport``.

        Raises:
            ConnectionLostError: the broker refuses connections at the moment.
        """
        if not self.accepting:
            raise ConnectionLostError(f"the memory broker {self.name!r} refuses connections", executed=False)
        self.abandon([other for other in self.transports if other.loop is not loop and other.loop.is_closed()])
        self.transports.append(transport)

    @locked
    def abandon(self, transports: list[TransportT]) -> None:
        """Close transports whose event loop has ended; this needs no running loop."""
        for transport in transports:
            transport.withdraw()  # from all of them first, so that none receives what another one returns
        for transport in list(transports):
            transport.abandon()

    async def opened(self, transport: TransportT) -> None:
        """Called when a transport has connected for the first time."""

    async def closed(self, transport: TransportT) -> None:
        """Called when a transport was closed."""

    @locked
    def publish(self, request: Request, reply_to: int | None = None, *, sender: int | None = None) -> None:
        """Route a request, and tell the caller at ``sender``, or ``reply_to``, whether it was accepted.

        ``reply_to=None``: no reply is wanted.
        """
        message = self._message(request, reply_to, self._trace(request, notification=reply_to is None), sender=sender)
        if self.faults:
            self._publish_with_faults(message)
        else:
            self._route(message)

    @locked
    def broadcast(self, request: Request, reply_to: int) -> None:
        """Pass a request on to every worker of its service, and tell the caller at ``reply_to``."""
        trace = self._trace(request, broadcast=True)
        message = self._message(request, reply_to, trace)
        workers = [transport for transport in self.transports if transport.serves(request.routing_key)]
        if not workers:
            self._unroutable(message)
        for transport in workers:
            post(transport.loop, transport.broadcast_arrived, message)
        self._tell_caller(message, MemoryCaller.confirm_arrived)

    @locked
    def feed(self, request: Request, sender: int) -> None:
        """Pass a further message of a call on to the worker at its address, or tell the caller that it is gone."""
        self._trace_fed(request)
        passage = Passage("feed", self._service(request.routing_key))
        message = self._message(request, sender)
        if self.faults:
            passage = self.struck(passage)
        if passage.refusal is not None:
            self._tell_caller(message, MemoryCaller.feed_refused, passage.refusal, FEED_REFUSED)
            return
        for _ in range(passage.copies):
            self._later(message, passage.delay, self._feed, message)

    @locked
    def _feed(self, message: Message) -> None:
        request = message.request
        for transport in self.transports:
            if transport.address == request.routing_key:
                fed = Reply(request.body, request.content_type, request.content_encoding, request.headers)
                call = caller_name(message.sender), request.correlation_id
                post(transport.loop, transport.fed, *call, fed, message.user)
                return
        self._tell_caller(message, MemoryCaller.feed_refused, NoRouteError, WORKER_GONE)

    @locked
    def cancel(self, routing_key: str, address: int, correlation_id: bytes) -> None:
        """Tell all workers of a service that the caller at ``address`` has cancelled a call."""
        self._trace_cancelled(correlation_id)
        call = caller_name(address), correlation_id, self._user(address)
        for transport in self.transports:
            post(transport.loop, transport.cancelled, routing_key, *call)

    @locked
    def probe(self, message: Message, worker: ConsumerHost) -> None:
        """Tell ``worker`` if the caller of ``message`` has disconnected."""
        if message.reply_to is not None and message.reply_to not in self._callers:
            post(worker.loop, worker.caller_gone, caller_name(message.reply_to))

    @locked
    def dead_letter(self, message: Message, queue: str, reason: str) -> None:
        """Store a request as a dead letter."""
        service = service_of_queue(queue)
        request = message.request._replace(routing_key=key_without(message.request.routing_key))
        self.dead_letters.append(DeadLetter(service, queue, request, reason, message.deliveries))

    @locked
    def reply(self, message: Message, reply: Reply, worker: ConsumerHost) -> None:
        """Send a reply to the caller of ``message``, or tell ``worker`` that the caller has disconnected."""
        if message.trace is not None:
            message.trace.replies.append(reply)
        if not self.faults:
            self._send_reply(message, reply, worker)
            return
        passage = self.struck(Passage("reply", self._service(message.request.routing_key), reply))
        if passage.reply is not None:
            for _ in range(passage.copies):
                self._later(message, passage.delay, self._send_reply, message, passage.reply, worker)

    @locked
    def _send_reply(self, message: Message, reply: Reply, worker: ConsumerHost) -> None:
        if message.reply_to in self._callers:
            self._tell_caller(message, MemoryCaller.reply_arrived, reply)
        else:
            self.undeliverable_replies += 1
            self.probe(message, worker)

    def _publish_with_faults(self, message: Message) -> None:
        passage = self.struck(Passage("request", self._service(message.request.routing_key)))
        if passage.refusal is not None:
            detail = "refused by a fault that the test has injected"
            self._later(message, passage.delay, self._refuse, message, passage.refusal, detail)
            return
        for count in range(passage.copies):
            one = message if count == 0 else message.copy(next(self._numbers))
            self._later(message, passage.delay, self._route, one)

    def _later(self, message: Message, seconds: float, act: Callable[..., None], *args: Any) -> None:
        caller = None if message.sender is None else self._callers.get(message.sender)
        if seconds <= 0 or caller is None:
            act(*args)
        else:
            loop = caller.transport.loop
            post(loop, loop.call_later, seconds, act, *args)

    @locked
    def _route(self, message: Message) -> None:
        limit = self.max_message_size
        if limit is not None and len(message.request.body) > limit:
            if message.trace is not None:
                message.trace.too_large = limit
            self._tell_caller(message, MemoryCaller.size_refused, limit)
            return
        queue = self._routes.find(message.request.routing_key)
        if queue is None:
            self._unroutable(message)
        elif queue.offer(message):
            self._tell_caller(message, MemoryCaller.confirm_arrived)
        else:
            self._refuse(message, QueueFullError, QUEUE_FULL)

    def _unroutable(self, message: Message) -> None:
        if message.trace is not None:
            message.trace.unroutable = True
        self._refuse(message, NoRouteError, NO_ROUTE)

    @locked
    def _refuse(self, message: Message, refusal: Refusal, detail: str) -> None:
        if message.trace is not None:
            message.trace.refusal = (refusal, detail)
        self._tell_caller(message, MemoryCaller.refusal_arrived, refusal, detail)

    def _tell_caller(self, message: Message, tell: Callable[..., None], *what: Any) -> None:
        address = message.sender
        caller = None if address is None else self._callers.get(address)
        if caller is not None:
            post(caller.transport.loop, tell, caller, address, message.request.correlation_id, *what)
