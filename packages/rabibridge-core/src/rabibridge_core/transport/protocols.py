"""What a transport implements, and the events that it reports to the engines.

These are Protocols, because other packages implement them and a base class would add no behaviour. All methods are
called on the event loop that ``connect()`` ran on. Those that are not ``async`` never block, and never raise because of
something that the broker does.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Collection

    from rabibridge_core.errors import (
        ConfigurationError,
        ConnectionLostError,
        ContentRejectedError,
        NoRouteError,
        QueueFullError,
    )
    from rabibridge_core.transport.messages import IncomingRequest, Reply, Request, ServiceQueue

__all__ = [
    "Abandonable",
    "Caller",
    "CallerEvents",
    "ConnectionState",
    "Consumer",
    "ConsumerEvents",
    "Refusal",
    "Transport",
]

Refusal: TypeAlias = "type[QueueFullError] | type[NoRouteError]"


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


class CallerEvents(Protocol):
    """What a :class:`Caller` reports about the requests that it was given."""

    def replied(self, correlation_id: bytes, reply: Reply, /) -> None:
        """Called for each reply. It may be late, a duplicate, or for a call that was never made."""
        ...

    def refused(self, correlation_id: bytes, refusal: Refusal, detail: str, /) -> None:
        """Called when the broker has refused a request for this reason; it is in no queue."""
        ...

    def too_large(self, limit: int, unconfirmed: Collection[bytes], /) -> None:
        """Called when the broker has refused a request because it accepts no body of more than ``limit`` bytes.

        Args:
            limit: in bytes.
            unconfirmed: the correlation ids of the requests that the broker has not confirmed; those that are larger
                were refused.
        """
        ...

    def lost(self, error: ConnectionLostError | ConfigurationError, unconfirmed: Collection[bytes], /) -> None:
        """Called when the connection is lost, and with it all replies to what was sent so far.

        Args:
            error: why. A ConfigurationError says that the broker refuses what was sent because of a missing permission.
            unconfirmed: the correlation ids of the requests that the broker has not confirmed.
        """
        ...


class ConsumerEvents(Protocol):
    """What a :class:`Consumer` reports to the server that owns it."""

    def received(self, request: IncomingRequest, /) -> None:
        """Called for each request. It counts against ``fetch_size`` until it is settled."""
        ...

    def lost(self, error: ConnectionLostError, /) -> None:
        """Called when a connection or channel is lost: its unsettled requests are void and will be redelivered.

        :attr:`IncomingRequest.void` says which ones. It is also called after :meth:`Transport.close` if requests are in
        flight.
        """
        ...

    def reply_refused(self, request: IncomingRequest, error: ContentRejectedError, /) -> None:
        """Called when the broker does not accept the reply to a request because of its size.

        The request is not settled yet: it is to be replied to once more, with the error.
        """
        ...

    def cancelled(self, caller: bytes, correlation_id: bytes, /) -> None:
        """Called when a caller has cancelled a call. It may be in flight here or elsewhere, or may yet arrive."""
        ...

    def caller_gone(self, caller: bytes, /) -> None:
        """Called when a caller's connection is gone: nobody waits for its calls any longer."""
        ...


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
class Abandonable(Protocol):
    """A transport that can be released after its event loop was closed, or in a forked process. Optional."""

    def abandon(self) -> None:
        """Close permanently, without an event loop and without telling anybody.

        The broker learns that the connection is gone, except in a forked process, where it is that of the parent.
        """
        ...
