"""What crosses the transport seam, as values: queues, requests and replies, in bytes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeAlias

__all__ = ["Delivery", "HeaderValue", "Headers", "IncomingRequest", "QueueType", "Reply", "Request", "ServiceQueue"]

HeaderValue: TypeAlias = str | int | float | bool | bytes
Headers: TypeAlias = Mapping[str, HeaderValue]
Delivery: TypeAlias = Literal["at-least-once", "at-most-once"]
QueueType: TypeAlias = Literal["classic", "quorum"]


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
        redelivery_limit: how often a request may be given to a worker again before the engine gives it up; the
            transport counts (:attr:`IncomingRequest.deliveries`). ``None``: it need not be counted.
    """

    name: str
    routing_keys: tuple[str, ...]
    queue_size: int | None
    fetch_size: int
    timeout: float | None = None
    queue_type: QueueType = "classic"
    redeclare: bool = False
    redelivery_limit: int | None = None


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
        persistent: whether the broker is to keep it on disk, so that it survives a restart of the broker.
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
    """One reply, on its way out or in; the fields are as in :class:`Request`."""

    body: bytes
    content_type: str | None
    content_encoding: str | None
    headers: Headers | None = None


class IncomingRequest(Protocol):
    """One request in hand. It must be settled once: by ``reply``, ``discard``, ``reject`` or ``dead_letter``.

    A request whose connection has gone cannot be settled any more, the broker gives it to another worker: it is
    :attr:`void`, settling it is without effect, and :meth:`ConsumerEvents.lost` has told so.
    """

    @property
    def caller(self) -> bytes:
        """Who sent it: the same for all requests of one caller on one connection, and for no other's. Opaque."""
        ...

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
    def deliveries(self) -> int:
        """How often it was given to a worker before, as far as it was counted; 0: this is the first time."""
        ...

    @property
    def persistent(self) -> bool:
        """Whether its sender wants it to survive a restart of the broker: it is to run even if its caller is gone."""
        ...

    @property
    def void(self) -> bool:
        """Whether it can not be settled any more, because its connection or channel is gone.

        One that was accepted is settled, and never void: its reply takes the next connection.
        """
        ...

    @property
    def wants_reply(self) -> bool:
        """Whether there is anybody to reply to."""
        ...

    def reply(self, reply: Reply, /) -> None:
        """Send the reply, then settle. Whoever sees the request gone from the queue saw the reply sent before."""
        ...

    def accept(self) -> None:
        """Settle now and still :meth:`reply` later: it is never given to a worker again (at most once).

        From then on it does not count against ``fetch_size``, and ``reply`` and ``discard`` settle nothing.
        """
        ...

    def discard(self) -> None:
        """Settle without an answer: the caller does not wait any more."""
        ...

    def dead_letter(self, reason: str, reply: Reply | None = None, /) -> None:
        """Put it aside for an operator, with the reason, send ``reply`` if there is one, then settle.

        It is settled only once the broker has it in the dead-letter queue. Where there can be none, for want of a
        permission, that is logged with the reason, and the request is dropped.
        """
        ...

    def probe(self) -> None:
        """Ask whether its caller is still there; :meth:`ConsumerEvents.caller_gone` tells if not.

        Without effect where this cannot be found out.
        """
        ...

    def reject(self, *, requeue: bool) -> None:
        """Give it back to the queue for another worker, or refuse it for good."""
        ...
