"""A request on its way through the memory broker, what becomes of it, and what is put aside."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rabibridge_core.transport import Refusal, Reply, Request

__all__ = ["CallTrace", "DeadLetter", "Message", "caller_name", "service_of"]

_QUEUE_PREFIXES = ("rpc_async_", "rpc_sync_")
_KEY_PREFIXES = ("async_", "sync_")


def caller_name(address: int | None) -> bytes:
    """Return how a worker sees the caller at a reply address; nobody's is empty."""
    return b"" if address is None else b"caller-%d" % address


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


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A request that a worker has put aside, as bytes.

    Attributes:
        service: the name of the service.
        queue: the name of the queue that it came from.
        request: what was sent.
        reason: why it was put aside, in the worker's words.
        deliveries: how often it was given to a worker before.
    """

    service: str
    queue: str
    request: Request
    reason: str
    deliveries: int


class Message:
    """A request in the broker.

    Attributes:
        request: what was sent.
        reply_to: the address of the caller; ``None`` where nobody waits.
        sequence: counts the messages of one broker, so that what comes back finds its place.
        deadline: when the caller's time is over, in seconds since 1970; ``None``: no limit.
        expires: when it must not be delivered any more, on the monotonic clock; ``None``: never.
        deliveries: how often it came back from a worker that was given it.
        trace: where to note what becomes of it.
    """

    __slots__ = ("deadline", "deliveries", "expires", "reply_to", "request", "sequence", "trace")

    def __init__(self, request: Request, reply_to: int | None, sequence: int, trace: CallTrace | None) -> None:
        """Start the clock of ``request.timeout``."""
        self.request = request
        self.reply_to = reply_to
        self.sequence = sequence
        self.trace = trace
        self.deliveries = 0
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
