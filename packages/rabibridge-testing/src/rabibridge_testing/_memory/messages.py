"""A request inside the memory broker, the record of what became of it, and the dead letter it may end as."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rabibridge_core._clock import monotonic

if TYPE_CHECKING:
    from rabibridge_core.transport import Refusal, Reply, Request

__all__ = ["CallTrace", "DeadLetter", "Message", "caller_name"]


def caller_name(address: int | None) -> bytes:
    """Return the name by which a worker knows the caller at a reply address; empty for ``None``."""
    return b"" if address is None else b"caller-%d" % address


@dataclass(slots=True)
class CallTrace:
    """The record of one request, in bytes.

    Attributes:
        service: the name of the service.
        request: the request as it was sent.
        replies: its replies, in the order in which they were sent.
        refusal: the error class and the text of the refusal; ``None`` if the broker accepted the request.
        too_large: the size that the broker accepts, in bytes, if it has refused a larger request; else ``None``.
        ends_at: when the time of its caller ends, on the broker's clock; ``None``: no limit.
        cancelled_at: when its caller gave it up, on the broker's clock; ``None``: it did not.
        broadcast: whether it went to all workers.
        unroutable: whether no queue takes requests of its routing key.
        notification: whether its sender wants no reply.
        fed: the further messages of the call: the items of an upload, and what was consumed of a stream.
    """

    service: str
    request: Request
    replies: list[Reply] = field(default_factory=list)
    refusal: tuple[Refusal, str] | None = None
    too_large: int | None = None
    ends_at: float | None = None
    cancelled_at: float | None = None
    broadcast: bool = False
    unroutable: bool = False
    notification: bool = False
    fed: list[Request] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A request that a worker has dead-lettered, in bytes.

    Attributes:
        service: the name of the service.
        queue: the name of the queue that it came from.
        request: the request as it was sent.
        reason: why it was dead-lettered, in the worker's words.
        deliveries: how often it was delivered to a worker before.
    """

    service: str
    queue: str
    request: Request
    reason: str
    deliveries: int


class Message:
    """A request in the broker.

    Attributes:
        request: the request as it was sent.
        reply_to: the address of the caller; ``None`` if no reply is wanted.
        sequence: the number of this message in its broker; a requeued message returns to its position by it.
        deadline: when the caller's timeout ends, on the clock of the engines; ``None``: no limit.
        expires: when it must no longer be delivered, on the broker's clock; ``None``: never.
        deliveries: how often it came back from a worker that had received it.
        counted: how often it had come back when its place in the queue was last changed because of that.
        trace: the record of this request, if the broker keeps one.
        sender: the address of the caller, which is told whether it was accepted; ``None``: nobody is.
        user: the user of the caller; empty if it does not say.
    """

    __slots__ = (
        "counted",
        "deadline",
        "deliveries",
        "expires",
        "reply_to",
        "request",
        "sender",
        "sequence",
        "trace",
        "user",
    )

    def __init__(
        self,
        request: Request,
        reply_to: int | None,
        sequence: int,
        trace: CallTrace | None,
        *,
        now: float,
        sender: int | None = None,
        user: str = "",
    ) -> None:
        """Create a message; the timeout of ``request`` starts ``now``. ``sender``: ``None`` if it is ``reply_to``."""
        self.request = request
        self.reply_to = reply_to
        self.sender = reply_to if sender is None else sender
        self.user = user
        self.sequence = sequence
        self.trace = trace
        self.deliveries = self.counted = 0
        self.deadline: float | None = None
        self.expires: float | None = None
        if request.timeout is not None:
            self.deadline = monotonic() + request.timeout
            self.expires = now + request.timeout

    def copy(self, sequence: int) -> Message:
        """Return another message with the same content and the same deadlines."""
        twin = Message(self.request, self.reply_to, sequence, self.trace, now=0.0, sender=self.sender, user=self.user)
        twin.deadline, twin.expires = self.deadline, self.expires
        return twin
