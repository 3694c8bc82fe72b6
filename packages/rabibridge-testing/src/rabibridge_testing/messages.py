"""A request on its way through the memory broker, and the same request in the hands of a worker."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rabibridge_core.transport import Headers, Refusal, Reply, Request
    from rabibridge_testing.links import MemoryConsumer

__all__ = ["CallTrace", "Delivery", "Message", "service_of"]

_QUEUE_PREFIXES = ("rpc_async_", "rpc_sync_")
_KEY_PREFIXES = ("async_", "sync_")
_NO_HEADERS: Headers = {}


def service_of(routing_key: str, queue: str | None = None) -> str:
    """Return the name of the service that a routing key, or better a queue, belongs to."""
    name, prefixes = (routing_key, _KEY_PREFIXES) if queue is None else (queue, _QUEUE_PREFIXES)
    for prefix in prefixes:
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name


@dataclass(slots=True)
class CallTrace:
    """What became of one request, as bytes.

    Attributes:
        service: the name of the service.
        request: what was sent.
        replies: the replies to it, in the order in which they were sent.
        refusal: why the broker did not take it, and its words; ``None`` where it did.
    """

    service: str
    request: Request
    replies: list[Reply] = field(default_factory=list)
    refusal: tuple[Refusal, str] | None = None


class Message:
    """A request in the broker.

    Attributes:
        request: what was sent.
        reply_to: the address of the caller; ``None`` where nobody waits.
        sequence: counts the messages of one broker, so that what comes back finds its place.
        deadline: when the caller's time is over, in seconds since 1970; ``None``: no limit.
        expires: when it must not be delivered any more, on the monotonic clock; ``None``: never.
        redelivered: whether a worker was given it before.
        trace: where to note what becomes of it.
    """

    __slots__ = ("deadline", "expires", "redelivered", "reply_to", "request", "sequence", "trace")

    def __init__(self, request: Request, reply_to: int | None, sequence: int, trace: CallTrace | None) -> None:
        """Start the clock of ``request.timeout``."""
        self.request = request
        self.reply_to = reply_to
        self.sequence = sequence
        self.trace = trace
        self.redelivered = False
        self.deadline: float | None = None
        self.expires: float | None = None
        if request.timeout is not None:
            self.deadline = time.time() + request.timeout
            self.expires = time.monotonic() + request.timeout

    def copy(self, sequence: int) -> Message:
        """Return another message with the same content and the same limits."""
        twin = Message(self.request, self.reply_to, sequence, self.trace)
        twin.deadline, twin.expires = self.deadline, self.expires
        return twin


class Delivery:
    """One request in hand: an ``IncomingRequest`` of the transport seam.

    Settling it a second time is an error in the code that does it, and raises RuntimeError; once its connection has
    gone, settling has no effect at all. It belongs to the queue that it came from, also where that was deleted since.
    """

    __slots__ = (
        "_consumer",
        "body",
        "content_encoding",
        "content_type",
        "correlation_id",
        "deadline",
        "handed_over",
        "headers",
        "message",
        "queue",
        "redelivered",
        "settled",
        "time_left",
        "void",
        "wants_reply",
    )

    def __init__(self, message: Message, consumer: MemoryConsumer) -> None:
        """Give ``message`` to ``consumer``."""
        request = message.request
        self.message = message
        self.queue = consumer.queue
        self._consumer = consumer
        self.correlation_id = request.correlation_id
        self.body = request.body
        self.content_type: str | None = request.content_type
        self.content_encoding = request.content_encoding
        self.time_left = request.timeout
        self.deadline = message.deadline
        self.headers: Headers = request.headers or _NO_HEADERS
        self.redelivered = message.redelivered
        self.wants_reply = message.reply_to is not None
        self.handed_over = False
        self.settled = False
        self.void = False

    def __repr__(self) -> str:
        state = "void" if self.void else "settled" if self.settled else "in hand"
        return f"<Delivery {self.message.request.routing_key!r} {self.correlation_id!r} {state}>"

    def reply(self, reply: Reply, /) -> None:
        """Send the reply, then settle."""
        if self._settle():
            self._consumer.broker.reply(self.message, reply)
            self._consumer.settled(self)

    def discard(self) -> None:
        """Settle without an answer."""
        if self._settle():
            self._consumer.settled(self)

    def reject(self, *, requeue: bool) -> None:
        """Give it back to the front of the queue, or drop it."""
        if self._settle():
            self._consumer.settled(self)
            if requeue:
                self.message.redelivered = True
                self.queue.put_back([self.message])

    def _settle(self) -> bool:
        if self.void:
            return False
        if self.settled:
            raise RuntimeError(f"{self!r} was settled before: reply, discard and reject exclude each other")
        self.settled = True
        return True
