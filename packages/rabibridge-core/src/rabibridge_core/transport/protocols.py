"""What a transport implements, and what it reports to the engines.

These are Protocols, because others implement them and the base would add no behaviour. All methods are called on the
event loop that ``connect()`` ran on; those that are not ``async`` never block and never raise for what the broker does.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection

    from rabibridge_core.errors import ConfigurationError, ConnectionLostError, NoRouteError, QueueFullError
    from rabibridge_core.transport.messages import IncomingRequest, Reply, Request, ServiceQueue

__all__ = [
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
    """Where a transport stands with its broker."""

    IDLE = "idle"
    """``connect()`` was not called yet."""
    CONNECTING = "connecting"
    """The first connection is being made."""
    READY = "ready"
    """Requests and replies flow."""
    LOST = "lost"
    """The connection went; the transport is making a new one by itself."""
    CLOSED = "closed"
    """``close()`` was called, or a failure that trying again cannot mend."""


class CallerEvents(Protocol):
    """What a :class:`Caller` tells about the requests it was given."""

    def replied(self, correlation_id: bytes, reply: Reply, /) -> None:
        """A reply came. It may be late, twice, or for a call that never was."""
        ...

    def refused(self, correlation_id: bytes, refusal: Refusal, detail: str, /) -> None:
        """The broker did not take the request, for this reason; it is in no queue."""
        ...

    def lost(self, error: ConnectionLostError | ConfigurationError, unconfirmed: Collection[bytes], /) -> None:
        """The connection is gone, and with it all replies to what was sent so far.

        Args:
            error: why. A ConfigurationError says that the broker refuses what was sent, for want of a permission.
            unconfirmed: the correlation ids of the requests of which the broker has not said that it has them.
        """
        ...


class ConsumerEvents(Protocol):
    """What a :class:`Consumer` tells the server that owns it."""

    def received(self, request: IncomingRequest, /) -> None:
        """A request arrived. It counts against ``fetch_size`` until it is settled."""
        ...

    def lost(self, error: ConnectionLostError, /) -> None:
        """A connection or channel is gone: the requests that came on it are void and will be given to a worker again.

        :attr:`IncomingRequest.void` tells which. That it was closed by :meth:`Transport.close` is told too, where
        requests are in hand.
        """
        ...

    def cancelled(self, caller: bytes, correlation_id: bytes, /) -> None:
        """A caller does not wait for this call any more. It may be in hand here, elsewhere, or yet to come."""
        ...

    def caller_gone(self, caller: bytes, /) -> None:
        """A caller's connection is gone: nobody waits for any of its calls."""
        ...


class Caller(Protocol):
    """Sends requests and hears of their fate. It outlives the loss of a connection."""

    @property
    def paused(self) -> bool:
        """Whether to await :meth:`writable` before the next :meth:`send`."""
        ...

    @property
    def why_paused(self) -> str:
        """What it waits for, as a clause for an error message; empty while not :attr:`paused`."""
        ...

    async def writable(self) -> None:
        """Wait until requests can be sent: there is a connection, the broker accepts, the socket drains.

        Raises:
            ConnectionLostError: the transport is closed; ``executed`` is ``False``.
        """
        ...

    def send(self, request: Request, /) -> None:
        """Put one request on its way; what becomes of it comes back through :class:`CallerEvents`.

        Raises:
            ConnectionLostError: there is no connection; ``executed`` is ``False``.
            ConfigurationError: the broker has just refused what was sent, for want of a permission.
        """
        ...

    def cancel(self, routing_key: str, correlation_id: bytes, /) -> None:
        """Tell the workers of a service that nobody waits for this request any more.

        It is no more than a hint: it may get lost, and it is without effect while there is no connection.
        """
        ...


class Consumer(Protocol):
    """Takes requests from one service queue.

    It outlives the loss of a connection. It also outlives its queue: where somebody deletes that on the broker, it is
    declared anew, and what is in hand can still be answered.
    """

    @property
    def live(self) -> bool:
        """Whether requests arrive: connected, declared and consuming."""
        ...

    @property
    def error(self) -> Exception | None:
        """Why it is not live, where trying again does not help."""
        ...

    async def stop(self) -> None:
        """Stop taking requests. None arrives once this returns; those in hand can still be settled.

        Whatever it holds on the broker is released when the last request in hand is settled. Stopping twice does no
        harm.
        """
        ...


class Transport(Protocol):
    """A connection to a broker that is kept up until it is closed."""

    @property
    def state(self) -> ConnectionState:
        """Where it stands."""
        ...

    @property
    def last_error(self) -> Exception | None:
        """What went wrong last, ``None`` while ready."""
        ...

    async def connect(self) -> None:
        """Connect. From then on a lost connection is made anew without being asked.

        Raises:
            ConnectionLostError: no broker could be reached in the time that the transport allows itself. It can be
                called again then. Or the transport is closed.
            ConfigurationError: the broker refuses us, and trying again cannot help.
        """
        ...

    async def close(self) -> None:
        """Close for good. Everything unsettled goes back to its queue, and is void here: ``ConsumerEvents.lost``.

        Closing twice does no harm.
        """
        ...

    async def wait_closed(self) -> None:
        """Wait until the transport is closed for good.

        Raises:
            RabiBridgeError: what closed it, where that was not :meth:`close`.
        """
        ...

    async def open_caller(self, events: CallerEvents, /) -> Caller:
        """Make ready to send requests and receive replies. While the connection is lost, wait for the next.

        Raises:
            ConnectionLostError: the transport was never connected, is closed, or got no connection in the time that
                it allows itself; ``executed`` is ``False``.
        """
        ...

    async def declare(self, queue: ServiceQueue, /) -> None:
        """Make sure that the queue exists with these limits and that its routing keys lead to it.

        While the connection is lost, wait for the next.

        Raises:
            ConfigurationError: the broker refuses it, for one because it exists with other limits.
            ConnectionLostError: the transport was never connected, is closed, or got no connection in the time that
                it allows itself; ``executed`` is ``False``.
        """
        ...

    async def serve(self, queue: ServiceQueue, events: ConsumerEvents, /) -> Consumer:
        """Declare the queue and take requests from it, at most ``queue.fetch_size`` unsettled at any time.

        While the connection is lost, return at once: the consumer is live with the next connection.

        Raises:
            ConfigurationError: as :meth:`declare`.
            ConnectionLostError: the transport was never connected, or is closed; ``executed`` is ``False``.
        """
        ...
