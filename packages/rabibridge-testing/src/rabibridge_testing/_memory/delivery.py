"""A request in the hands of a worker of the memory broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core.transport import ConnectionState
from rabibridge_testing._memory.messages import caller_name

if TYPE_CHECKING:
    from rabibridge_core.transport import Headers, Reply
    from rabibridge_testing._memory.endpoints import MemoryConsumer
    from rabibridge_testing._memory.messages import Message

__all__ = ["Delivery"]

_NO_HEADERS: Headers = {}


class Delivery:
    """One request in hand: an ``IncomingRequest`` of the transport seam.

    Settling it a second time is an error in the code that does it, and raises RuntimeError; so is giving back what was
    accepted. Once its connection has gone, settling has no effect at all; what was accepted before can be answered on
    the next one. It belongs to the queue that it came from, also where that was deleted since.
    """

    __slots__ = (
        "_consumer",
        "accepted",
        "body",
        "caller",
        "content_encoding",
        "content_type",
        "correlation_id",
        "deadline",
        "deliveries",
        "handed_over",
        "headers",
        "message",
        "persistent",
        "queue",
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
        self.caller = caller_name(message.reply_to)
        self.correlation_id = request.correlation_id
        self.body = request.body
        self.content_type: str | None = request.content_type
        self.content_encoding = request.content_encoding
        self.time_left = request.timeout
        self.deadline = message.deadline
        self.headers: Headers = request.headers or _NO_HEADERS
        self.deliveries = message.deliveries
        self.persistent = request.persistent
        self.wants_reply = message.reply_to is not None
        self.handed_over = False
        self.accepted = False
        self.settled = False
        self.void = False

    def __repr__(self) -> str:
        state = "void" if self.void else "settled" if self.settled else "accepted" if self.accepted else "in hand"
        return f"<Delivery {self.message.request.routing_key!r} {self.correlation_id!r} {state}>"

    @property
    def redelivered(self) -> bool:
        """Whether it was given to a worker before."""
        return self.deliveries > 0

    def reply(self, reply: Reply, /) -> None:
        """Send the reply, then settle."""
        if self._settle():
            self._send(reply)
            self._consumer.settled(self)

    def accept(self) -> None:
        """Settle now and reply later: it comes to no worker again, and makes room for the next."""
        if self.accepted:
            raise RuntimeError(f"{self!r} was accepted before: once is all it takes")
        if self._settle():
            self.accepted = True
            self.settled = False  # reply and discard are still to come
            self._consumer.accepted(self)

    def discard(self) -> None:
        """Settle without an answer."""
        if self._settle():
            self._consumer.settled(self)

    def dead_letter(self, reason: str, reply: Reply | None = None, /) -> None:
        """Put it aside in the broker's ``dead_letters``, send the reply if there is one, then settle."""
        if self._settle():
            self._consumer.broker.put_aside(self.message, self.queue.spec.name, reason)
            if reply is not None:
                self._send(reply)
            self._consumer.settled(self)

    def probe(self) -> None:
        """Ask whether its caller is still there."""
        if not self.void:
            self._consumer.broker.probe(self.message, self._consumer.transport)

    def reject(self, *, requeue: bool) -> None:
        """Give it back to its place in the queue, or drop it."""
        if self.accepted and not self.void:
            raise RuntimeError(f"{self!r} was accepted: it cannot be given back, only answered or discarded")
        if self._settle():
            self._consumer.settled(self)
            if requeue:
                self.message.deliveries += 1
                self.queue.put_back([self.message])

    def _send(self, reply: Reply) -> None:
        transport = self._consumer.transport
        if transport.state is ConnectionState.READY:  # else it is lost: this one was accepted, and there is no other
            transport.broker.reply(self.message, reply, transport)

    def _settle(self) -> bool:
        if self.void:
            return False
        if self.settled:
            raise RuntimeError(
                f"{self!r} was settled before: reply, discard, dead_letter and reject exclude each other"
            )
        self.settled = True
        return True
