"""The end of a memory transport that sends requests and receives replies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rabibridge_core._protocol.broadcasts import BROADCAST_MAX, broadcast_too_large
from rabibridge_core._protocol.broker_texts import too_large
from rabibridge_core._protocol.naming import in_namespace
from rabibridge_core.errors import ConnectionLostError, ContentRejectedError, QueueFullError
from rabibridge_testing._memory.messages import caller_name
from rabibridge_testing._memory.namespaces import key_in, request_in

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Collection, Mapping

    from rabibridge_core.errors import NoRouteError
    from rabibridge_core.transport import CallerEvents, Refusal, Reply, Request
    from rabibridge_testing._memory.queue import MemoryQueue

__all__ = ["CallerHost", "CallerRouter", "MemoryCaller"]


class CallerRouter(Protocol):
    """What a caller uses of the broker.

    Attributes:
        name: the name of the broker, used in errors.
        alarm: why the broker accepts no messages; ``None`` while it does.
        max_message_size: the largest body that it accepts, in bytes; ``None``: no limit.
    """

    name: str
    alarm: str | None
    max_message_size: int | None

    @property
    def queues(self) -> Mapping[str, MemoryQueue]:
        """The queues by name."""
        ...

    def publish(self, request: Request, reply_to: int | None = None, *, sender: int | None = None) -> None:
        """Route a request, and tell the caller at ``sender`` whether it was accepted."""
        ...

    def broadcast(self, request: Request, reply_to: int) -> None:
        """Pass a request on to every worker of its service."""
        ...

    def feed(self, request: Request, sender: int) -> None:
        """Pass a further message of a call on to the worker at its address."""
        ...

    def cancel(self, routing_key: str, address: int, correlation_id: bytes) -> None:
        """Tell all workers of a service that a call was cancelled."""
        ...


class CallerHost(Protocol):
    """What a caller uses of the transport that it belongs to.

    Attributes:
        name: the name of the transport, used in errors.
        user: the user that its messages name; empty: none.
        loop: the event loop that the transport is connected on.
        namespace: the namespace that it sends in; empty: none.
        refusals: the classes of the errors for calls that are refused.
    """

    name: str
    user: str
    loop: asyncio.AbstractEventLoop
    namespace: str
    refusals: tuple[type[QueueFullError], type[NoRouteError]]

    @property
    def broker(self) -> CallerRouter:
        """The broker."""
        ...

    @property
    def last_error(self) -> Exception | None:
        """The last error of the connection, ``None`` while it is ready."""
        ...

    @property
    def blocked(self) -> bool:
        """Whether the broker has told that it accepts no messages."""
        ...

    def why_blocked(self) -> str:
        """Return why the broker accepts no messages; empty: it does, or has not told yet."""
        ...

    def act(self, do: Callable[[], None], *, publishes: bool = False) -> None:
        """Do what the broker does when it reads something of this connection, once it reads it."""
        ...

    async def wait_ready(self) -> None:
        """Wait for a connection."""
        ...

    async def wait_unblocked(self) -> None:
        """Wait until the broker accepts messages again, or the connection is lost."""
        ...


class MemoryCaller:
    """Sends requests to the broker. Each new connection gives it a new reply address, like an exclusive queue.

    Attributes:
        address: where replies are sent; ``None`` without a connection.
    """

    def __init__(self, transport: CallerHost, events: CallerEvents) -> None:
        """Create a caller that reports to ``events``."""
        self.transport = transport
        self.events = events
        self.address: int | None = None
        self._namespace = transport.namespace
        self._unconfirmed: set[bytes] = set()
        self._reported: set[bytes] = set()

    @property
    def paused(self) -> bool:
        """Whether there is no connection, or the broker accepts no requests."""
        return self.address is None or self.transport.blocked

    @property
    def why_paused(self) -> str:
        """Which of the two, and why; empty if neither."""
        if self.address is None:
            return f"there is no connection to the broker: {self.transport.last_error or 'the transport is closed'}"
        return self.transport.why_blocked()

    @property
    def unconfirmed(self) -> Collection[bytes]:
        """The requests that the broker has not confirmed."""
        return frozenset(self._unconfirmed)

    @property
    def reply_address(self) -> bytes:
        """The name of its reply address."""
        return caller_name(self.address)

    async def writable(self) -> None:
        """Wait for a connection on which the broker accepts requests.

        Raises:
            ConnectionLostError: the transport is closed; ``executed`` is ``False``.
        """
        while True:
            await self.transport.wait_ready()
            if not self.paused:
                return
            await self.transport.wait_unblocked()

    def send(self, request: Request, /) -> None:
        """Send one request; ``events`` are called only after this has returned.

        Raises:
            ConnectionLostError: there is no connection; ``executed`` is ``False``.
        """
        address, broker, sent = self._sending(request), self.transport.broker, request_in(self._namespace, request)
        self.transport.act(lambda: broker.publish(sent, address), publishes=True)

    def notify(self, request: Request, /) -> None:
        """Send one request that wants no reply, and report when the broker has accepted it.

        Raises:
            ConnectionLostError: as :meth:`send`.
        """
        address = self._sending(request)
        self._reported.add(request.correlation_id)
        broker, sent = self.transport.broker, request_in(self._namespace, request)
        self.transport.act(lambda: broker.publish(sent, None, sender=address), publishes=True)

    def broadcast(self, request: Request, /) -> None:
        """Send one request to every worker of its service.

        Raises:
            ConnectionLostError: as :meth:`send`.
            ContentRejectedError: the body takes more than 64 KiB, as many as RabbitMQ passes on.
        """
        if len(request.body) > BROADCAST_MAX:
            raise ContentRejectedError(broadcast_too_large(len(request.body)))
        address = self._sending(request)
        self._reported.add(request.correlation_id)
        broker, sent = self.transport.broker, request_in(self._namespace, request)
        self.transport.act(lambda: broker.broadcast(sent, address), publishes=True)

    def feed(self, request: Request, /) -> None:
        """Send a further message of a call to the worker that processes it.

        Raises:
            ConnectionLostError: as :meth:`send`.
            ContentRejectedError: the body is larger than the broker accepts.
        """
        if self.address is None:
            raise self._no_connection()
        broker, size = self.transport.broker, len(request.body)
        if broker.max_message_size is not None and size > broker.max_message_size:
            raise ContentRejectedError(too_large("the message", size, broker.max_message_size))
        address = self.address
        self.transport.act(lambda: broker.feed(request, address), publishes=True)

    def _no_connection(self) -> ConnectionLostError:
        return ConnectionLostError(f"{self.transport.name} has no connection: nothing was sent", executed=False)

    def _sending(self, request: Request) -> int:
        if self.address is None:
            raise self._no_connection()
        self._unconfirmed.add(request.correlation_id)
        return self.address

    async def look(self, queue: str, /) -> tuple[int, int] | None:
        """Return the number of consumers and of waiting requests of a queue."""
        found = self.transport.broker.queues.get(in_namespace(queue, self._namespace))
        return None if found is None else (found.consumers, len(found))

    def cancel(self, routing_key: str, correlation_id: bytes, /) -> None:
        """Tell the workers of a service that this call was cancelled; without effect without a connection."""
        broker, address, key = self.transport.broker, self.address, key_in(self._namespace, routing_key)
        if address is not None:
            self.transport.act(lambda: broker.cancel(key, address, correlation_id), publishes=True)

    def lost(self, error: ConnectionLostError) -> None:
        """Called when the connection was lost: report it with the requests that the broker had not confirmed."""
        unconfirmed, self._unconfirmed = self._unconfirmed, set()
        self._reported.clear()
        self.events.lost(error, unconfirmed)

    def confirm_arrived(self, address: int, correlation_id: bytes) -> None:
        """Called when the broker has accepted a request that was sent from ``address``."""
        if address == self.address:
            self._unconfirmed.discard(correlation_id)
            if correlation_id in self._reported:
                self._reported.discard(correlation_id)
                self.events.confirmed(correlation_id)

    def reply_arrived(self, address: int, correlation_id: bytes, reply: Reply) -> None:
        """Called with a reply; it is dropped if the connection that it was sent to is lost."""
        if address == self.address:
            self.events.replied(correlation_id, reply)

    def size_refused(self, address: int, correlation_id: bytes, limit: int) -> None:
        """Called when a request is larger than the broker accepts."""
        if address == self.address:
            self._unconfirmed.discard(correlation_id)
            self.events.too_large(limit, [correlation_id])

    def feed_refused(self, address: int, correlation_id: bytes, refusal: Refusal, detail: str) -> None:
        """Called when a further message of a call was refused."""
        if address == self.address:
            self.events.feed_refused(correlation_id, refusal, detail)

    def refusal_arrived(self, address: int, correlation_id: bytes, refusal: Refusal, detail: str) -> None:
        """Called with a refusal; it is dropped if the connection that it was sent to is lost."""
        if address == self.address:
            self._unconfirmed.discard(correlation_id)
            self._reported.discard(correlation_id)
            full, no_route = self.transport.refusals
            self.events.refused(correlation_id, full if issubclass(refusal, QueueFullError) else no_route, detail)
