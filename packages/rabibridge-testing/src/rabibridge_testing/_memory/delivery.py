"""A request that a consumer of the memory broker has taken, until it is settled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from rabibridge_core._clock import monotonic, wall
from rabibridge_testing._memory.messages import caller_name

if TYPE_CHECKING:
    from rabibridge_core.errors import ContentRejectedError
    from rabibridge_core.transport import Headers, Reply
    from rabibridge_testing._memory.messages import Message
    from rabibridge_testing._memory.queue import MemoryQueue

__all__ = ["BroadcastDelivery", "Delivery", "DeliveryOwner"]

_NO_HEADERS: Headers = {}


class DeliveryOwner(Protocol):
    """What a delivery uses of the consumer that took it."""

    @property
    def queue(self) -> MemoryQueue:
        """The queue that requests are taken from."""
        ...

    @property
    def address(self) -> str:
        """Where callers send further messages of their calls; empty if the service takes none."""
        ...

    def refusal(self, reply: Reply) -> ContentRejectedError | None:
        """Return why the broker does not accept a reply; ``None`` if it does."""
        ...

    def reply_refused(self, delivery: Delivery, error: ContentRejectedError) -> None:
        """Ask for another reply to a request that is not settled yet."""
        ...

    def send_reply(self, message: Message, reply: Reply) -> None:
        """Send a reply to the caller; it is lost where there is no connection."""
        ...

    def dead_letter(self, message: Message, queue: str, reason: str) -> None:
        """Store a request among the broker's dead letters."""
        ...

    def probe(self, message: Message) -> None:
        """Ask the broker whether the caller is still connected."""
        ...

    def settled(self, delivery: Delivery) -> None:
        """Called when a delivery was settled for good."""
        ...

    def rejected(self, delivery: Delivery) -> None:
        """Called when a delivery was given back to its queue."""
        ...

    def accepted(self, delivery: Delivery) -> None:
        """Called when a delivery was acknowledged and its reply is still to come."""
        ...


class Delivery:
    """One request being processed: an ``IncomingRequest`` of the transport protocol.

    Settling it twice, or giving it back after it was accepted, is a bug in the worker and raises RuntimeError. Once its
    connection is lost, settling has no effect; a request that was accepted before can still be answered on the next
    connection. A delivery belongs to the queue that it came from, even if that queue was deleted meanwhile.
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
        "reply_refused",
        "settled",
        "time_left",
        "user",
        "void",
        "wants_reply",
    )

    def __init__(self, message: Message, consumer: DeliveryOwner) -> None:
        """Deliver ``message`` to ``consumer``."""
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
        self.deadline: float | None = None
        if message.deadline is not None:  # one clock for both sides, which nobody sets
            self.deadline = wall() + message.deadline - monotonic()
        self.headers: Headers = request.headers or _NO_HEADERS
        self.deliveries = message.deliveries
        self.persistent = request.persistent
        self.wants_reply = message.reply_to is not None
        self.user = message.user
        self.handed_over = False
        self.accepted = False
        self.settled = False
        self.reply_refused = False
        self.void = False

    def __repr__(self) -> str:
        state = "void" if self.void else "settled" if self.settled else "accepted" if self.accepted else "unsettled"
        return f"<Delivery {self.message.request.routing_key!r} {self.correlation_id!r} {state}>"

    @property
    def reply_address(self) -> bytes:
        """Where its reply goes."""
        return self.caller

    @property
    def redelivered(self) -> bool:
        """Whether a worker received it before."""
        return self.deliveries > 0

    @property
    def address(self) -> str:
        """Where its caller sends further messages; empty once it is settled or void."""
        return "" if self.settled or self.void else self._consumer.address

    def reply_part(self, reply: Reply, /) -> asyncio.Future[None] | None:
        """Send a reply that others follow."""
        if self.settled or self.void:
            return None
        refusal = self._consumer.refusal(reply)
        if refusal is None:
            self._consumer.send_reply(self.message, reply)
            return None
        refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        refused.set_exception(refusal)
        refused.exception()  # whoever settles at once does not wait for it: asyncio need not log that
        return refused

    def reply(self, reply: Reply, /) -> None:
        """Send the reply, then settle; the first one that is too large is replaced by another one."""
        refusal = self._consumer.refusal(reply)
        if refusal is not None and not (self.reply_refused or self.settled or self.void):
            self.reply_refused = True
            self._consumer.reply_refused(self, refusal)
        elif self._settle():
            if refusal is None:
                self._consumer.send_reply(self.message, reply)
            self._consumer.settled(self)

    def accept(self) -> None:
        """Settle now and reply later: it is never redelivered, and no longer counts against ``fetch_size``."""
        if self.accepted:
            raise RuntimeError(f"{self!r} was already accepted: call accept() only once")
        if self._settle():
            self.accepted = True
            self.settled = False  # reply and discard are still to come
            self._consumer.accepted(self)

    def discard(self) -> None:
        """Settle without a reply."""
        if self._settle():
            self._consumer.settled(self)

    def dead_letter(self, reason: str, reply: Reply | None = None, /) -> None:
        """Store it in the broker's ``dead_letters``, send the reply if there is one, then settle."""
        if self._settle():
            self._consumer.dead_letter(self.message, self.queue.spec.name, reason)
            if reply is not None and self._consumer.refusal(reply) is None:
                self._consumer.send_reply(self.message, reply)
            self._consumer.settled(self)

    def probe(self) -> None:
        """Ask whether its caller is still connected."""
        if not self.void:
            self._consumer.probe(self.message)

    def reject(self, *, requeue: bool) -> None:
        """Return it to its position in the queue, or drop it."""
        if self.accepted and not self.void:
            raise RuntimeError(f"{self!r} was accepted: it cannot be rejected, only answered or discarded")
        if self._settle():
            if requeue:
                self._consumer.rejected(self)
            else:
                self._consumer.settled(self)

    def _settle(self) -> bool:
        if self.void:
            return False
        if self.settled:
            raise RuntimeError(
                f"{self!r} was already settled: call only one of reply, discard, dead_letter and reject, and only once"
            )
        self.settled = True
        return True


class BroadcastDelivery(Delivery):
    """One broadcast, as one worker received it: an ``IncomingBroadcast`` of the transport protocol.

    It is in no queue: settling it sends the reply, if there is one, and nothing else.
    """

    __slots__ = ()

    def announce(self, reply: Reply, /) -> None:
        """Send a reply without settling."""
        self._consumer.send_reply(self.message, reply)

    def reply(self, reply: Reply, /) -> None:
        """Send the reply."""
        if self._settle():
            self._consumer.send_reply(self.message, reply)

    def accept(self) -> None:
        """Do nothing: it counts as accepted."""

    def discard(self) -> None:
        """Send nothing."""
        self._settle()

    def dead_letter(self, reason: str, reply: Reply | None = None, /) -> None:
        """Send the reply, if there is one."""
        if self._settle() and reply is not None:
            self._consumer.send_reply(self.message, reply)

    def reject(self, *, requeue: bool) -> None:
        """Send nothing."""
        self._settle()
