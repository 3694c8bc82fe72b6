"""What engines and transports exchange: queues, requests and replies, as bytes and plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    import asyncio

__all__ = [
    "Delivery",
    "HeaderValue",
    "Headers",
    "IncomingBroadcast",
    "IncomingRequest",
    "QueueType",
    "Reply",
    "Request",
    "ServiceQueue",
]

HeaderValue: TypeAlias = str | int | float | bool | bytes
Headers: TypeAlias = Mapping[str, HeaderValue]
Delivery: TypeAlias = Literal["at-least-once", "at-most-once"]
QueueType: TypeAlias = Literal["classic", "quorum"]


@dataclass(frozen=True, slots=True)
class ServiceQueue:
    """The queue of one service. It survives a restart of the broker.

    Attributes:
        name: its name on the broker.
        routing_keys: the keys that callers send to.
        queue_size: maximum number of waiting requests; further ones are refused. ``None``: no limit.
        fetch_size: maximum number of unsettled requests per consumer, at least 1.
        timeout: how long a request may wait in the queue, in seconds; after that it is dropped. ``None``: no limit.
        queue_type: ``"classic"`` or ``"quorum"`` (replicated).
        redeclare: if the queue exists with other limits, delete it with its contents and declare it again.
        redelivery_limit: how often a request may be redelivered before the engine dead-letters it; the transport
            counts (:attr:`IncomingRequest.deliveries`). ``None``: redeliveries need not be counted.
        any_keys: those of :attr:`routing_keys` that :attr:`other_queue` may have, too. A request that is sent to one of
            them must reach exactly one of the two queues. Empty: no other queue has any of the keys.
        other_queue: the queue of a service of the same name and the other kind (async or sync). ``None``: there is no
            such kind.
        preferred: whether it, and not :attr:`other_queue`, gets the requests of :attr:`any_keys` while both are served.
        streams: whether its requests have an :attr:`~IncomingRequest.address`, to which callers send further messages.
    """

    name: str
    routing_keys: tuple[str, ...]
    queue_size: int | None
    fetch_size: int
    timeout: float | None = None
    queue_type: QueueType = "classic"
    redeclare: bool = False
    redelivery_limit: int | None = None
    any_keys: tuple[str, ...] = ()
    other_queue: str | None = None
    preferred: bool = True
    streams: bool = False


class Request(NamedTuple):
    """One outgoing request.

    Attributes:
        routing_key: names the service.
        correlation_id: identifies the call among those of its caller; at most 255 bytes.
        body: the encoded arguments.
        content_type: how they are encoded.
        content_encoding: how they are compressed; ``None``: not at all.
        timeout: the time left to the call, in seconds, above 0; ``None``: no limit. The transport sends it to the
            worker, both as time left and as a point in time, and drops the request from the queue when it has passed.
        headers: further headers.
        persistent: whether the broker stores it on disk, so that it survives a restart of the broker.
    """

    routing_key: str
    correlation_id: bytes
    body: bytes
    content_type: str
    content_encoding: str | None
    timeout: float | None
    headers: Headers | None = None
    persistent: bool = False


class Reply(NamedTuple):
    """One reply, outgoing or incoming; the fields are as in :class:`Request`."""

    body: bytes
    content_type: str | None
    content_encoding: str | None
    headers: Headers | None = None


class IncomingRequest(Protocol):
    """One incoming request. It must be settled once: by ``reply``, ``discard``, ``reject`` or ``dead_letter``.

    A request whose connection is lost can no longer be settled, since the broker redelivers it: it is :attr:`void`,
    settling it has no effect, and :meth:`ConsumerEvents.lost` was called.
    """

    @property
    def caller(self) -> bytes:
        """Identifies the caller: equal for all requests of one caller on one connection, unique otherwise. Opaque."""
        ...

    @property
    def reply_address(self) -> bytes:
        """Where its reply goes, as its caller knows it (:attr:`Caller.reply_address`); empty: nowhere."""
        ...

    @property
    def user(self) -> str:
        """The user of the broker that sent it, if the broker vouches for that; empty if that is not known."""
        ...

    @property
    def correlation_id(self) -> bytes:
        """The caller's identifier of the call; empty if the sender gave none."""
        ...

    @property
    def body(self) -> bytes:
        """The encoded arguments."""
        ...

    @property
    def content_type(self) -> str | None:
        """How they are encoded; ``None`` if the sender does not say."""
        ...

    @property
    def content_encoding(self) -> str | None:
        """How they are compressed; ``None`` if the sender does not say."""
        ...

    @property
    def time_left(self) -> float | None:
        """The time left to the call when it was sent, in seconds; ``None``: no limit."""
        ...

    @property
    def deadline(self) -> float | None:
        """The deadline by the caller's clock, in seconds since 1970; ``None``: none."""
        ...

    @property
    def headers(self) -> Headers:
        """All headers. The first access may parse them."""
        ...

    @property
    def redelivered(self) -> bool:
        """Whether it may have been delivered to a worker before."""
        ...

    @property
    def deliveries(self) -> int:
        """How often it was delivered before, as far as that was counted; 0: this is the first time."""
        ...

    @property
    def persistent(self) -> bool:
        """Whether it was sent to survive a restart of the broker: it is to run even if its caller is gone."""
        ...

    @property
    def void(self) -> bool:
        """Whether it can no longer be settled because its connection or channel is gone.

        An accepted request is settled and never void: its reply is sent on the next connection.
        """
        ...

    @property
    def wants_reply(self) -> bool:
        """Whether the sender expects a reply."""
        ...

    @property
    def address(self) -> str:
        """Where the caller can send further messages to this worker: the routing key of :meth:`Caller.feed`.

        It is unguessable, the same for all requests of one connection, and another one after a reconnection. Empty if
        the queue was not served with :attr:`ServiceQueue.streams`, and once the request is settled.
        """
        ...

    def reply_part(self, reply: Reply, /) -> asyncio.Future[None] | None:
        """Send a reply that others follow; the request stays unsettled.

        Parts arrive in the order in which they were sent, and before the reply that settles the request; that may be
        sent without waiting for the future. If the request is void or settled, nothing is sent.

        Returns:
            ``None``: it is on its way. A future: the transport takes a slower way, for example because the broker is
            not known to accept a body of this size; it is done when the next part may be sent. It raises
            ContentRejectedError if the broker does not accept the part; further parts and the reply can still be sent.
        """
        ...

    def reply(self, reply: Reply, /) -> None:
        """Send the reply, then settle: the request leaves the queue only after the reply was sent."""
        ...

    def accept(self) -> None:
        """Settle now and :meth:`reply` later: the request is never redelivered (at most once).

        From then on it does not count against ``fetch_size``, and ``reply`` and ``discard`` do not settle.
        """
        ...

    def discard(self) -> None:
        """Settle without a reply: nobody waits for it."""
        ...

    def dead_letter(self, reason: str, reply: Reply | None = None, /) -> None:
        """Move the request to the dead-letter queue with the reason, send ``reply`` if there is one, then settle.

        It is settled only when the broker has confirmed the dead letter. If there is no dead-letter queue because of a
        missing permission, that is logged with the reason and the request is dropped.
        """
        ...

    def probe(self) -> None:
        """Check whether the caller is still there; if not, :meth:`ConsumerEvents.caller_gone` is called.

        No effect if the transport cannot find out.
        """
        ...

    def reject(self, *, requeue: bool) -> None:
        """Return the request to the queue for another worker, or drop it."""
        ...


class IncomingBroadcast(IncomingRequest, Protocol):
    """One broadcast, as one of the workers received it.

    It is in no queue: it is never redelivered and never void, it counts as accepted, and requeueing or dead-lettering
    it only drops it.
    """

    def announce(self, reply: Reply, /) -> None:
        """Send a reply that says that this worker has it; the result follows by :meth:`reply`."""
        ...
