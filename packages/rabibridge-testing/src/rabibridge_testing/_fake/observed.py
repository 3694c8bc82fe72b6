"""A transport to a real broker that passes everything on, and keeps a record of the requests for the test."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from rabibridge_core._protocol.headers import RECEIVED
from rabibridge_core.errors import NoRouteError
from rabibridge_core.transport import (
    Abandonable,
    Blockable,
    ConnectionCounter,
    ConsumerCounter,
    ControlReceiver,
    Located,
    QueueDeleter,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rabibridge_core.errors import ConfigurationError, ConnectionLostError
    from rabibridge_core.transport import (
        BrokerAddress,
        Caller,
        CallerEvents,
        ConnectionState,
        Consumer,
        ConsumerEvents,
        FeedRefusal,
        Refusal,
        Reply,
        Request,
        ServiceQueue,
        Transport,
    )
    from rabibridge_testing._memory.messages import CallTrace
    from rabibridge_testing._recordings.file import Way

__all__ = ["ObservedTransport", "Observer"]


class Observer(Protocol):
    """What observes transports."""

    @property
    def waits(self) -> bool:
        """Whether the functions of the test are not all served yet."""
        ...

    async def served(self) -> None:
        """Wait until the functions of the test are served."""
        ...

    async def opened(self, transport: ObservedTransport) -> None:
        """Called when a transport has connected."""
        ...

    async def closed(self, transport: ObservedTransport) -> None:
        """Called when a transport was closed."""
        ...

    def sent(self, request: Request, way: Way) -> tuple[CallTrace, tuple[Refusal, str] | None]:
        """Record a request; return the record, and the refusal if the request is not to be sent."""
        ...

    def fed(self, request: Request) -> None:
        """Record a further message of a call."""
        ...

    def cancelled(self, correlation_id: bytes) -> None:
        """Record that a call was given up by its caller."""
        ...

    def serves(self, service_queue: ServiceQueue) -> None:
        """Called when a server of the test serves a queue."""
        ...


class ObservedTransport:
    """Passes everything on to a transport, which has the optional parts that this one has.

    Attributes:
        namespace: the namespace of the transport; empty: none.
        loop: the event loop that it was connected on; ``None``: it was not.
    """

    def __init__(self, transport: Transport, observer: Observer) -> None:
        """Observe ``transport``."""
        self._inner = transport
        self._observer = observer
        self.namespace: str = getattr(transport, "namespace", "")
        self.loop: asyncio.AbstractEventLoop | None = None
        if isinstance(transport, Abandonable):
            self.abandon = transport.abandon
        if isinstance(transport, QueueDeleter):
            self.delete_unused = transport.delete_unused
        if isinstance(transport, ConsumerCounter):
            self.count_consumers = transport.count_consumers
        if isinstance(transport, ConnectionCounter):
            self.connection_counts = transport.connection_counts
        if isinstance(transport, Blockable):
            self.why_blocked = transport.why_blocked
        if isinstance(transport, ControlReceiver):
            self.receive_control = transport.receive_control

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self._inner.state

    @property
    def last_error(self) -> Exception | None:
        """The last error; ``None`` while ready."""
        return self._inner.last_error

    @property
    def broker_address(self) -> BrokerAddress | None:
        """The broker that it is connected to, if the other transport says it."""
        return self._inner.broker_address if isinstance(self._inner, Located) else None

    @property
    def streams(self) -> bool:
        """Whether it carries streams."""
        return self._inner.streams

    async def connect(self) -> None:
        """Connect, and wait until the functions of the test are served."""
        await self._inner.connect()
        self.loop = asyncio.get_running_loop()
        await self._observer.opened(self)

    async def close(self) -> None:
        """Close permanently."""
        await self._inner.close()
        await self._observer.closed(self)

    async def wait_closed(self) -> None:
        """Wait until it is closed permanently."""
        await self._inner.wait_closed()

    async def open_caller(self, events: CallerEvents, /) -> Caller:
        """Prepare to send requests and receive replies."""
        observed = _ObservedEvents(events)
        return _ObservedCaller(await self._inner.open_caller(observed), observed, self._observer)

    async def declare(self, queue: ServiceQueue, /) -> None:
        """Ensure that the queue exists."""
        await self._inner.declare(queue)

    async def serve(self, queue: ServiceQueue, events: ConsumerEvents, /) -> Consumer:
        """Declare the queue and receive requests from it."""
        self._observer.serves(queue)
        return await self._inner.serve(queue, events)


class _ObservedEvents:
    """Stands between a transport and the engine of a client, and completes the records."""

    def __init__(self, events: CallerEvents) -> None:
        self._events = events
        self._traces: dict[bytes, CallTrace] = {}
        self.feed_refused: Callable[[bytes, FeedRefusal, str], None] = events.feed_refused
        self.confirmed = events.confirmed
        self.not_permitted: Callable[[str, ConfigurationError, Collection[bytes]], None] = events.not_permitted
        self.lost: Callable[[ConnectionLostError | ConfigurationError, Collection[bytes]], None] = events.lost

    def sent(self, trace: CallTrace) -> None:
        self._traces[trace.request.correlation_id] = trace

    def replied(self, correlation_id: bytes, reply: Reply, /) -> None:
        trace = self._traces.get(correlation_id)
        if trace is not None and RECEIVED not in (reply.headers or {}):
            trace.replies.append(reply)
        self._events.replied(correlation_id, reply)

    def refused(self, correlation_id: bytes, refusal: Refusal, detail: str, /) -> None:
        if (trace := self._traces.get(correlation_id)) is not None:
            trace.refusal, trace.unroutable = (refusal, detail), issubclass(refusal, NoRouteError)
        self._events.refused(correlation_id, refusal, detail)

    def too_large(self, limit: int, unconfirmed: Collection[bytes], /) -> None:
        for correlation_id in unconfirmed:
            trace = self._traces.get(correlation_id)
            if trace is not None and len(trace.request.body) > limit:
                trace.too_large = limit
        self._events.too_large(limit, unconfirmed)


class _ObservedCaller:
    """Records what a caller sends."""

    def __init__(self, caller: Caller, events: _ObservedEvents, observer: Observer) -> None:
        self._caller = caller
        self._events = events
        self._observer = observer

    @property
    def paused(self) -> bool:
        return self._observer.waits or self._caller.paused

    @property
    def why_paused(self) -> str:
        return "the functions of the test are not served yet" if self._observer.waits else self._caller.why_paused

    @property
    def unconfirmed(self) -> Collection[bytes]:
        return self._caller.unconfirmed

    @property
    def reply_address(self) -> bytes:
        return self._caller.reply_address

    async def writable(self) -> None:
        while self.paused:
            await self._observer.served()
            await self._caller.writable()

    def send(self, request: Request, /) -> None:
        self._pass(request, self._caller.send)

    def notify(self, request: Request, /) -> None:
        self._pass(request, self._caller.notify, "notify")

    def broadcast(self, request: Request, /) -> None:
        self._pass(request, self._caller.broadcast, "broadcast")

    def _pass(self, request: Request, send: Callable[[Request], None], way: Way = "call") -> None:
        trace, refusal = self._observer.sent(request, way)
        self._events.sent(trace)
        if refusal is None:
            send(request)
        else:
            asyncio.get_running_loop().call_soon(self._events.refused, request.correlation_id, *refusal)

    def feed(self, request: Request, /) -> None:
        self._observer.fed(request)
        self._caller.feed(request)

    async def look(self, queue: str, /) -> tuple[int, int] | None:
        return await self._caller.look(queue)

    def cancel(self, routing_key: str, correlation_id: bytes, /) -> None:
        self._observer.cancelled(correlation_id)
        self._caller.cancel(routing_key, correlation_id)
