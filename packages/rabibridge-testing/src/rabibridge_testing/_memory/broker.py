"""A message broker in memory that does what RabbitMQ does, as far as the transport seam can see it."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from rabibridge_core.errors import ConfigurationError, ConnectionLostError, NoRouteError, QueueFullError
from rabibridge_testing._memory.endpoints import MemoryCaller
from rabibridge_testing._memory.messages import CallTrace, DeadLetter, Message, caller_name, service_of
from rabibridge_testing._memory.queue import MemoryQueue
from rabibridge_testing._memory.transport import MemoryTransport
from rabibridge_testing.faults import FaultControls, Passage

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

    from rabibridge_core.transport import Refusal, Reply, Request, ServiceQueue

__all__ = ["MemoryBroker"]

_LIMITS = ("queue_size", "timeout", "queue_type")
_QUORUM_LIMITS = (*_LIMITS, "redelivery_limit")


class MemoryBroker(FaultControls):
    """Queues, bindings and reply addresses; everything in it is encoded bytes, and everything is in this object.

    It serves one event loop at a time: its transports must be connected on the same one. Loops one after another are
    fine; queues and what waits in them stay. Nothing here is thread-safe. Requests, replies and refusals arrive in a
    later turn of the loop than the one that sent them.

    Attributes:
        name: how it calls itself in errors.
        accepting: whether connections can be made.
        alarm: why it takes no requests, ``None`` while it does: see :meth:`block`.
        dead_letters: the requests that workers have put aside, in that order, each with the reason.
        transports: those that are connected, or would be if they could.
        undeliverable_replies: how many replies found their caller's connection gone.
    """

    def __init__(self, name: str = "memory", *, trace: bool = False) -> None:
        """Make an empty broker.

        Args:
            name: how it calls itself in errors.
            trace: keep every request and reply in :attr:`traces`; they stay in memory as long as the broker does.
        """
        super().__init__()
        self.name = name
        self.accepting = True
        self.alarm: str | None = None
        self.dead_letters: list[DeadLetter] = []
        self.transports: list[MemoryTransport] = []
        self.undeliverable_replies = 0
        self.traces: list[CallTrace] = []
        self._tracing = trace
        self._queues: dict[str, MemoryQueue] = {}
        self._routes: dict[str, list[MemoryQueue]] = {}
        self._callers: dict[int, MemoryCaller] = {}
        self._numbers = itertools.count(1)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}: {len(self._queues)} queues, {len(self.transports)} transports>"

    @property
    def queues(self) -> Mapping[str, MemoryQueue]:
        """The queues by name; ``len()`` of one tells how many requests wait in it."""
        return self._queues

    def transport(self, name: str = "memory transport") -> MemoryTransport:
        """Return a new transport to this broker, not connected yet."""
        return MemoryTransport(self, name)

    def declare(self, spec: ServiceQueue) -> MemoryQueue:
        """Return the queue of that name, made now if there is none, with its routing keys bound.

        Raises:
            ConfigurationError: it exists with other limits, and ``spec.redeclare`` is false.
        """
        queue = self._queues.get(spec.name)
        if queue is not None and (differences := _differences(queue.spec, spec)):
            if not spec.redeclare:
                raise ConfigurationError(
                    f"the queue {spec.name!r} exists with other limits: {differences}. Ask for the same, or set "
                    "re_register=True to delete the queue with the calls that wait in it, or delete it yourself, or "
                    "give the service another name"
                )
            self.delete_queue(spec.name)
            queue = None
        if queue is None:
            queue = self._queues[spec.name] = MemoryQueue(spec)
        for key in spec.routing_keys:
            bound = self._routes.setdefault(key, [])
            if queue not in bound:
                bound.append(queue)
        return queue

    def delete_queue(self, name: str) -> None:
        """Delete a queue with everything that waits in it; workers that took from it declare it anew.

        What they have in hand they can still answer. Without effect if there is no such queue.
        """
        queue = self._queues.pop(name, None)
        if queue is None:
            return
        for key, bound in list(self._routes.items()):
            if queue in bound:
                bound.remove(queue)
                if not bound:
                    del self._routes[key]
        for consumer in queue.delete():
            consumer.transport.consumer_cancelled(consumer)

    def lose_connection(self, *, restore: bool = True) -> None:
        """Cut all connections.

        Args:
            restore: let them be made anew at once; ``False``: only when :meth:`restore` is called.
        """
        if not restore:
            self.accepting = False
        for transport in list(self.transports):
            transport.abort(restore=restore)

    def refuse_connections(self) -> None:
        """Accept no new connection until :meth:`restore`; those that exist stay."""
        self.accepting = False

    def restore(self) -> None:
        """Accept connections again; the transports that have lost theirs get a new one in the next turn of the loop."""
        self.accepting = True
        for transport in self.transports:
            transport.restore_soon()

    def restart(self, *, restore: bool = True) -> None:
        """Go down and come up again: all connections are cut and requests are lost, waiting or in hand.

        Queues stay, and with them the requests that are persistent or in a quorum queue. So do dead letters.

        Args:
            restore: let connections be made anew at once; ``False``: only when :meth:`restore` is called.
        """
        for transport in self.transports:
            transport.withdraw()  # all of them first: none may be given what another one gives back
        self.lose_connection(restore=restore)
        for queue in self._queues.values():
            queue.forget_transient()

    def block(self, reason: str = "low on memory") -> None:
        """Take no requests until :meth:`unblock`, as a broker does that runs out of memory or disk.

        Callers wait, and give ``reason`` where their time ends so. What is in a queue is still given out and answered.
        """
        self.alarm = reason

    def unblock(self) -> None:
        """Take requests again."""
        self.alarm = None
        for transport in self.transports:
            transport.unblocked()

    def attach(self, transport: MemoryTransport, loop: asyncio.AbstractEventLoop) -> None:
        """Connect ``transport``.

        Raises:
            ConnectionLostError: connections are refused at the moment.
            ConfigurationError: other transports are connected on another loop that is still open.
        """
        if not self.accepting:
            raise ConnectionLostError(f"the memory broker {self.name!r} refuses connections", executed=False)
        left_behind = [other for other in self.transports if other.loop is not loop]
        for other in left_behind:
            if not other.loop.is_closed():
                raise ConfigurationError(
                    f"{other.name} is connected to the memory broker {self.name!r} on another event loop: "
                    "clients and servers that share a memory broker must run on one loop"
                )
        self.abandon(left_behind)
        self.transports.append(transport)

    def abandon(self, transports: list[MemoryTransport]) -> None:
        """Close transports whose loop has ended; it needs no loop."""
        for transport in transports:
            transport.withdraw()  # all of them first: none may be given what another one gives back
        for transport in list(transports):
            transport.abandon()

    async def opened(self, transport: MemoryTransport) -> None:
        """Hear that a transport has connected for the first time."""

    async def closed(self, transport: MemoryTransport) -> None:
        """Hear that a transport was closed."""

    def bind_caller(self, caller: MemoryCaller) -> None:
        """Give a caller a reply address of its own."""
        caller.address = next(self._numbers)
        self._callers[caller.address] = caller

    def unbind_caller(self, caller: MemoryCaller) -> None:
        """Forget a caller's reply address: replies to it are lost."""
        if caller.address is not None:
            del self._callers[caller.address]
            caller.address = None

    def publish(self, request: Request, reply_to: int | None = None) -> None:
        """Take a request, or refuse it by telling the caller at ``reply_to``; ``None``: nobody wants a reply."""
        trace = None
        if self._tracing:
            trace = CallTrace(self._service(request.routing_key), request)
            self.traces.append(trace)
        message = Message(request, reply_to, next(self._numbers), trace)
        if self.faults:
            self._publish_with_faults(message)
        else:
            self._route(message)

    def cancel(self, routing_key: str, address: int, correlation_id: bytes) -> None:
        """Tell all workers of a service that the caller at ``address`` does not wait for a request any more."""
        for transport in self.transports:
            transport.loop.call_soon(transport.cancelled, routing_key, caller_name(address), correlation_id)

    def probe(self, message: Message, worker: MemoryTransport) -> None:
        """Tell ``worker`` if the caller of ``message`` has gone."""
        if message.reply_to is not None and message.reply_to not in self._callers:
            worker.loop.call_soon(worker.caller_gone, caller_name(message.reply_to))

    def put_aside(self, message: Message, queue: str, reason: str) -> None:
        """Keep a request as a dead letter."""
        service = service_of(message.request.routing_key, queue)
        self.dead_letters.append(DeadLetter(service, queue, message.request, reason, message.deliveries))

    def reply(self, message: Message, reply: Reply, worker: MemoryTransport) -> None:
        """Send the reply to ``message`` on to where it asks for, or tell ``worker`` that this is gone."""
        if message.trace is not None:
            message.trace.replies.append(reply)
        if not self.faults:
            self._send_reply(message, reply, worker)
            return
        passage = self.struck(Passage("reply", self._service(message.request.routing_key), reply))
        if passage.reply is not None:
            for _ in range(passage.copies):
                self._later(message, passage.delay, self._send_reply, message, passage.reply, worker)

    def _send_reply(self, message: Message, reply: Reply, worker: MemoryTransport) -> None:
        if message.reply_to in self._callers:
            self._tell_caller(message, MemoryCaller.reply_arrived, reply)
        else:
            self.undeliverable_replies += 1
            self.probe(message, worker)

    def _publish_with_faults(self, message: Message) -> None:
        passage = self.struck(Passage("request", self._service(message.request.routing_key)))
        if passage.refusal is not None:
            detail = "a fault that the test has set refuses it"
            self._later(message, passage.delay, self._refuse, message, passage.refusal, detail)
            return
        for count in range(passage.copies):
            one = message if count == 0 else message.copy(next(self._numbers))
            self._later(message, passage.delay, self._route, one)

    def _later(self, message: Message, seconds: float, act: Callable[..., None], *args: Any) -> None:
        caller = None if message.reply_to is None else self._callers.get(message.reply_to)
        if seconds <= 0 or caller is None:
            act(*args)
        else:
            caller.transport.loop.call_later(seconds, act, *args)

    def _route(self, message: Message) -> None:
        request = message.request
        queues = self._routes.get(request.routing_key)
        if queues is None:
            self._refuse(message, NoRouteError, f"no queue is bound to {request.routing_key!r}: nobody offers it")
            return
        taken = True
        others = [(queue, message.copy(next(self._numbers))) for queue in queues[1:]]
        for queue, one in ((queues[0], message), *others):
            if not queue.offer(one):
                taken = False
                detail = f"the queue {queue.spec.name!r} holds {queue.spec.queue_size} calls, as many as it may"
                self._refuse(message, QueueFullError, detail)
        if taken:
            self._tell_caller(message, MemoryCaller.confirm_arrived)

    def _refuse(self, message: Message, refusal: Refusal, detail: str) -> None:
        if message.trace is not None:
            message.trace.refusal = (refusal, detail)
        self._tell_caller(message, MemoryCaller.refusal_arrived, refusal, detail)

    def _tell_caller(self, message: Message, tell: Callable[..., None], *what: Any) -> None:
        address = message.reply_to
        caller = None if address is None else self._callers.get(address)
        if caller is not None:
            caller.transport.loop.call_soon(tell, caller, address, message.request.correlation_id, *what)

    def _service(self, routing_key: str) -> str:
        queues = self._routes.get(routing_key)
        return service_of(routing_key, queues[0].spec.name if queues else None)


def _differences(known: ServiceQueue, asked: ServiceQueue) -> str:
    limits = _QUORUM_LIMITS if known.queue_type == asked.queue_type == "quorum" else _LIMITS
    return ", ".join(
        f"{limit} is {getattr(known, limit)!r}, asked for is {getattr(asked, limit)!r}"
        for limit in limits
        if getattr(known, limit) != getattr(asked, limit)
    )
