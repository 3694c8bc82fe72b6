"""The seam between RabiBridge and a message broker: a few methods that move bytes.

A transport knows queues, bytes and correlation ids. It knows nothing of Python objects, serializers or handlers; the
engines in :mod:`rabibridge_core.client` and :mod:`rabibridge_core.server` know nothing of brokers. Whoever writes a
transport runs the conformance suite of ``rabibridge_testing`` on it.

These are Protocols, because others implement them and the base would add no behaviour. All methods are called on the
event loop that ``connect()`` ran on; those that are not ``async`` never block and never raise for what the broker does.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from rabibridge_core.errors import ConnectionLostError, NoRouteError, QueueFullError

__all__ = [
    "Caller",
    "CallerEvents",
    "ConnectionState",
    "Consumer",
    "ConsumerEvents",
    "HeaderValue",
    "Headers",
    "IncomingRequest",
    "Refusal",
    "Reply",
    "Request",
    "ServiceQueue",
    "Transport",
]

HeaderValue: TypeAlias = str | int | float | bool | bytes
Headers: TypeAlias = Mapping[str, HeaderValue]
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


@dataclass(frozen=True, slots=True)
class ServiceQueue:
    """The queue of one service, as a value. It outlives a restart of the broker.

    Attributes:
        name: its name on the broker.
        routing_keys: the keys that callers send to.
        queue_size: how many requests may wait in it; one more is refused. ``None``: no limit.
        fetch_size: how many requests one consumer may hold unsettled, at least 1.
        timeout: how long a request may wait in the queue, in seconds; then it is dropped. ``None``: no limit.
        queue_type: ``"classic"`` or ``"quorum"`` (replicated).
        redeclare: delete a queue that exists with other limits, with what is in it, and declare it anew.
    """

    name: str
    routing_keys: tuple[str, ...]
    queue_size: int | None
    fetch_size: int
    timeout: float | None = None
    queue_type: Literal["classic", "quorum"] = "classic"
    redeclare: bool = False


class Request(NamedTuple):
    """One request on its way out.

    Attributes:
        routing_key: which service.
        correlation_id: names the call among those of its caller; at most 255 bytes.
        body: the encoded arguments.
        content_type: how they are encoded.
        content_encoding: how they are compressed, ``None`` if they are not.
        timeout: the time left to the call, in seconds, above 0; ``None``: no limit. The transport hands it to the
            worker, both as time left and as a point in time, and drops the request in the queue once it is over.
        headers: anything else that travels with it.
    """

    routing_key: str
    correlation_id: bytes
    body: bytes
    content_type: str
    content_encoding: str | None
    timeout: float | None
    headers: Headers | None = None


class Reply(NamedTuple):
    """One reply, on its way out or in; the fields are as in :class:`Request`."""

    body: bytes
    content_type: str | None
    content_encoding: str | None
    headers: Headers | None = None


class IncomingRequest(Protocol):
    """One request in hand. It must be settled once: by ``reply``, ``discard`` or ``reject``.

    A request whose connection has gone cannot be settled any more, the broker gives it to another worker: settling it
    is then without effect, and :meth:`ConsumerEvents.lost` has told so.
    """

    @property
    def correlation_id(self) -> bytes:
        """The caller's name for the call; empty where the sender gave none."""
        ...

    @property
    def body(self) -> bytes:
        """The encoded arguments."""
        ...

    @property
    def content_type(self) -> str | None:
        """How they are encoded; ``None`` where the sender does not say."""
        ...

    @property
    def content_encoding(self) -> str | None:
        """How they are compressed; ``None`` where the sender does not say."""
        ...

    @property
    def time_left(self) -> float | None:
        """The caller's remaining time when it sent this, in seconds; ``None``: no limit."""
        ...

    @property
    def deadline(self) -> float | None:
        """When that time is over by the caller's clock, in seconds since 1970; ``None``: no limit."""
        ...

    @property
    def headers(self) -> Headers:
        """Whatever else came with it. Reading it may parse it."""
        ...

    @property
    def redelivered(self) -> bool:
        """Whether it may have been given to a worker before."""
        ...

    @property
    def wants_reply(self) -> bool:
        """Whether there is anybody to reply to."""
        ...

    def reply(self, reply: Reply, /) -> None:
        """Send the reply, then settle. Whoever sees the request gone from the queue saw the reply sent before."""
        ...

    def discard(self) -> None:
        """Settle without an answer: the caller does not wait any more."""
        ...

    def reject(self, *, requeue: bool) -> None:
        """Give it back to the queue for another worker, or refuse it for good."""
        ...


class CallerEvents(Protocol):
    """What a :class:`Caller` tells about the requests it was given."""

    def replied(self, correlation_id: bytes, reply: Reply, /) -> None:
        """A reply came. It may be late, twice, or for a call that never was."""
        ...

    def refused(self, correlation_id: bytes, refusal: Refusal, detail: str, /) -> None:
        """The broker did not take the request, for this reason; it is in no queue."""
        ...

    def lost(self, error: ConnectionLostError, /) -> None:
        """The connection is gone, and with it all replies to what was sent so far."""
        ...


class ConsumerEvents(Protocol):
    """What a :class:`Consumer` tells the server that owns it."""

    def received(self, request: IncomingRequest, /) -> None:
        """A request arrived. It counts against ``fetch_size`` until it is settled."""
        ...

    def lost(self, error: ConnectionLostError, /) -> None:
        """The connection is gone: all requests in hand are void and will be given to some worker again.

        That it was closed by :meth:`Transport.close` is told too, where requests are in hand.
        """
        ...


class Caller(Protocol):
    """Sends requests and hears of their fate. It outlives the loss of a connection."""

    @property
    def paused(self) -> bool:
        """Whether to await :meth:`writable` before the next :meth:`send`."""
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
