"""What a transport implements.

These are Protocols, because other packages implement them and a base class would add no behaviour. All methods are
called on the event loop that ``connect()`` ran on. Those that are not ``async`` never block, and never raise because of
something that the broker does.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Collection

    from rabibridge_core.transport.events import CallerEvents, ConsumerEvents
    from rabibridge_core.transport.messages import Request, ServiceQueue

__all__ = [
    "Abandonable",
    "AdjustableConsumer",
    "Caller",
    "ConnectionState",
    "Consumer",
    "Transport",
]


class ConnectionState(enum.Enum):
    """The state of a transport's connection."""

    IDLE = "idle"
    """``connect()`` has not been called yet."""
    CONNECTING = "connecting"
    """The first connection is being made."""
    READY = "ready"
    """The connection is up."""
    LOST = "lost"
    """The connection was lost; the transport is reconnecting."""
    CLOSED = "closed"
    """``close()`` was called, or the transport gave up after a permanent error."""


class Caller(Protocol):
    """Sends requests and reports their outcome. It survives the loss of a connection."""

    @property
    def paused(self) -> bool:
        """Whether :meth:`writable` must be awaited before the next :meth:`send`."""
        ...

    @property
    def why_paused(self) -> str:
        """The reason for the pause, as a clause for an error message; empty while not :attr:`paused`."""
        ...

    @property
    def unconfirmed(self) -> Collection[bytes]:
        """The correlation ids of the requests of this connection that the broker has not confirmed yet."""
        ...

    @property
    def reply_address(self) -> bytes:
        """Where its replies go: :attr:`IncomingRequest.reply_address` of its requests; empty: not known yet."""
        ...

    async def writable(self) -> None:
        """Wait until requests can be sent: the connection is up, and neither broker nor socket applies back-pressure.

        Raises:
            ConnectionLostError: the transport is closed; ``executed`` is ``False``.
        """
        ...

    def send(self, request: Request, /) -> None:
        """Send one request; its outcome is reported through :class:`CallerEvents`.

        Raises:
            ConnectionLostError: there is no connection; ``executed`` is ``False``.
            ConfigurationError: the broker has just refused what was sent because of a missing permission, or the
                request cannot be sent over this transport.
            ContentRejectedError: the body is larger than the broker accepts.
        """
        ...

    def notify(self, request: Request, /) -> None:
        """Send one request that wants no reply. Its outcome is ``confirmed``, ``refused``, ``too_large`` or ``lost``.

        Raises:
            ConnectionLostError: as :meth:`send`.
            ConfigurationError: as :meth:`send`.
            ContentRejectedError: as :meth:`send`.
        """
        ...

    def broadcast(self, request: Request, /) -> None:
        """Send one request to every worker that takes requests of its routing key now.

        Each worker gets it at most once, as an :class:`~rabibridge_core.transport.IncomingBroadcast`, and may reply
        several times. ``confirmed``: the broker has passed it on to all workers that it knows. ``refused`` with
        NoRouteError: no worker can get broadcasts; with QueueFullError: at least one worker does not get it, because
        too much that it has not read yet waits for it.

        Raises:
            ConnectionLostError: as :meth:`send`.
            ConfigurationError: as :meth:`send`.
            ContentRejectedError: the body is larger than a broadcast may be on this transport.
        """
        ...

    def feed(self, request: Request, /) -> None:
        """Send a further message of a call to the worker that processes it.

        Args:
            request: its routing key is the :attr:`~rabibridge_core.transport.IncomingRequest.address` of the request,
                and its correlation id that of the call.

        A message that the broker refuses is reported by ``feed_refused``, and nothing else is reported about it: it is
        not among the :attr:`unconfirmed` requests.

        Raises:
            ConnectionLostError: as :meth:`send`.
            ConfigurationError: as :meth:`send`.
            ContentRejectedError: as :meth:`send`.
        """
        ...

    async def look(self, queue: str, /) -> tuple[int, int] | None:
        """Return how many consumers and how many waiting requests a queue has; ``None`` if that cannot be found out.

        It is never cancelled.

        Raises:
            RabiBridgeError: the connection is lost.
        """
        ...

    def cancel(self, routing_key: str, correlation_id: bytes, /) -> None:
        """Tell the workers of a service that the caller no longer waits for this request.

        Best effort: the message may get lost, and nothing is sent while there is no connection.
        """
        ...


class Consumer(Protocol):
    """Receives requests from one service queue.

    It survives the loss of a connection. It also survives the deletion of its queue on the broker: the queue is
    declared again, and requests in flight can still be answered.
    """

    @property
    def live(self) -> bool:
        """Whether requests arrive: connected, declared and consuming."""
        ...

    @property
    def error(self) -> Exception | None:
        """Why it is not live, if retrying does not help."""
        ...

    async def stop(self) -> None:
        """Stop receiving requests. None arrives after this returns; those in flight can still be settled.

        Its resources on the broker are released when the last request in flight is settled. Stopping twice has no
        effect.
        """
        ...


class Transport(Protocol):
    """A connection to a broker that is re-established until it is closed."""

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        ...

    @property
    def last_error(self) -> Exception | None:
        """The last error; ``None`` while ready."""
        ...

    @property
    def streams(self) -> bool:
        """Whether it carries streams: :meth:`Caller.feed`, and addresses of requests."""
        ...

    async def connect(self) -> None:
        """Connect. From then on, a lost connection is re-established automatically.

        Raises:
            ConnectionLostError: no broker could be reached within the connect timeout of the transport, and it can be
                called again; or the transport is closed.
            ConfigurationError: the broker refuses permanently.
        """
        ...

    async def close(self) -> None:
        """Close permanently. Unsettled requests return to their queues and are void here: ``ConsumerEvents.lost``.

        Closing twice has no effect.
        """
        ...

    async def wait_closed(self) -> None:
        """Wait until the transport is closed permanently.

        Raises:
            RabiBridgeError: what closed it, if that was not :meth:`close`.
        """
        ...

    async def open_caller(self, events: CallerEvents, /) -> Caller:
        """Prepare to send requests and receive replies. While the connection is lost, wait for the next one.

        Raises:
            ConnectionLostError: the transport was never connected, is closed, or got no connection within its connect
                timeout; ``executed`` is ``False``.
        """
        ...

    async def declare(self, queue: ServiceQueue, /) -> None:
        """Ensure that the queue exists with these limits and that its routing keys lead to it.

        While the connection is lost, wait for the next one.

        Raises:
            ConfigurationError: the broker refuses, for example because the queue exists with other limits.
            ConnectionLostError: the transport was never connected, is closed, or got no connection within its connect
                timeout; ``executed`` is ``False``.
        """
        ...

    async def serve(self, queue: ServiceQueue, events: ConsumerEvents, /) -> Consumer:
        """Declare the queue and receive requests from it, at most ``queue.fetch_size`` unsettled at any time.

        While the connection is lost, return immediately: the consumer becomes live with the next connection.

        Raises:
            ConfigurationError: as :meth:`declare`.
            ConnectionLostError: the transport was never connected, or is closed; ``executed`` is ``False``.
        """
        ...


@runtime_checkable
class AdjustableConsumer(Protocol):
    """A consumer whose ``fetch_size`` can change while it consumes. Optional: others fetch the most from the start."""

    async def set_fetch_size(self, fetch_size: int, /) -> None:
        """Receive at most so many unsettled requests from now on, also on later connections.

        Those that it has are kept. On RabbitMQ those do not count: until they are settled, it may have more.

        Raises:
            ConnectionLostError: the connection or channel was lost meanwhile; the next one has the new size.
        """
        ...


@runtime_checkable
class Abandonable(Protocol):
    """A transport that can be released after its event loop was closed, or in a forked process. Optional."""

    def abandon(self) -> None:
        """Close permanently, without an event loop and without telling anybody.

        The broker learns that the connection is gone, except in a forked process, where it is that of the parent.
        """
        ...
