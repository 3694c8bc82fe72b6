"""A request that a worker has taken, until it is settled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rabibridge_core.errors import ContentRejectedError
    from rabibridge_core.transport import Reply
    from rabibridge_redis._resp.wire import Envelope

__all__ = ["Broadcast", "Delivery", "DeliveryOwner", "RequestOwner"]


class RequestOwner(Protocol):
    """What a request uses of whoever received it."""

    def refusal(self, reply: Reply, /) -> ContentRejectedError | None:
        """Return why a reply cannot be sent; ``None`` if it can."""
        ...

    def send_reply(self, receiver: bytes, correlation_id: bytes, reply: Reply, /) -> None:
        """Send a reply, now or on the next connection."""
        ...


class DeliveryOwner(RequestOwner, Protocol):
    """What a request from a queue uses of the consumer that took it."""

    @property
    def address(self) -> str:
        """Where callers send further messages of their calls; empty if the service takes none."""
        ...

    def reply_refused(self, delivery: Delivery, error: ContentRejectedError, /) -> None:
        """Ask for another reply to a request that is not settled yet."""
        ...

    def keep_dead(self, delivery: Delivery, reason: str, /) -> None:
        """Store a request among the dead letters."""
        ...

    def probe(self, caller: bytes, /) -> None:
        """Ask whether a caller is still there."""
        ...

    def settle(self, delivery: Delivery, /) -> None:
        """Remove a request from its queue."""
        ...

    def give_back(self, delivery: Delivery, /) -> None:
        """Put a request back into its queue."""
        ...

    def done(self, delivery: Delivery, /) -> None:
        """Called when nothing more will happen to a request."""
        ...

    def accepted(self, delivery: Delivery, /) -> None:
        """Called when a request was settled and its reply is still to come."""
        ...


class Delivery:
    """One request from a queue: an ``IncomingRequest`` of the transport protocol.

    Settling it twice is a fault of the worker, and raises RuntimeError. Once its session is lost, it is void, and
    settling it has no effect; one that was accepted before can still be answered.
    """

    __slots__ = (
        "_owner", "accepted", "body", "caller", "content_encoding", "content_type", "correlation_id", "deadline",
        "deliveries", "epoch", "headers", "id", "meta", "persistent", "redelivered", "reply_was_refused", "settled",
        "time_left", "void", "wants_reply",
    )  # fmt: skip

    user = ""  # Redis does not tell who has sent a command

    def __init__(
        self,
        owner: DeliveryOwner,
        id_: bytes,
        deliveries: int,
        envelope: Envelope,
        meta: bytes,
        body: bytes,
        epoch: int,
    ) -> None:
        """Deliver a request. ``epoch``: which of several queues of one name it came from, if that was deleted."""
        self._owner, self.id, self.meta, self.body, self.epoch = owner, id_, meta, body, epoch
        (
            self.correlation_id, self.caller, self.content_type, self.content_encoding, self.time_left, self.deadline,
            self.headers, self.persistent, self.wants_reply,
        ) = envelope  # fmt: skip
        self.deliveries, self.redelivered = deliveries, deliveries > 0
        self.accepted = self.settled = self.void = self.reply_was_refused = False

    def __repr__(self) -> str:
        state = "void" if self.void else "settled" if self.settled else "accepted" if self.accepted else "unsettled"
        return f"<{type(self).__name__} {self.correlation_id!r} {state}>"

    @property
    def reply_address(self) -> bytes:
        """Where its reply goes."""
        return self.caller

    @property
    def address(self) -> str:
        """Where its caller sends further messages; empty once it is settled or void."""
        return "" if self.settled or self.void else self._owner.address

    def reply_part(self, reply: Reply, /) -> asyncio.Future[None] | None:
        """Send a reply that others follow."""
        if self.settled or self.void:
            return None
        refusal = self._owner.refusal(reply)
        if refusal is None:
            self._owner.send_reply(self.caller, self.correlation_id, reply)
            return None
        refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        refused.set_exception(refusal)
        refused.exception()  # whoever settles at once does not wait for it: asyncio need not log that
        return refused

    def reply(self, reply: Reply, /) -> None:
        """Send the reply, then settle; the first one that is too large is replaced by another one."""
        refusal = self._owner.refusal(reply)
        if refusal is not None and not (self.reply_was_refused or self.settled or self.void):
            self.reply_was_refused = True
            self._owner.reply_refused(self, refusal)
        elif self._may_settle():
            if refusal is None and self.wants_reply:
                self._owner.send_reply(self.caller, self.correlation_id, reply)
            self._finish()

    def accept(self) -> None:
        """Settle now and reply later: it is never redelivered, and no longer counts against ``fetch_size``."""
        if self.accepted:
            raise RuntimeError(f"{self!r} was already accepted: call accept() only once")
        if self._may_settle():
            self.accepted, self.settled = True, False  # reply and discard are still to come
            self._owner.settle(self)
            self._owner.accepted(self)

    def discard(self) -> None:
        """Settle without a reply."""
        if self._may_settle():
            self._finish()

    def dead_letter(self, reason: str, reply: Reply | None = None, /) -> None:
        """Store it among the dead letters, send the reply if there is one, then settle."""
        if self._may_settle():
            self._owner.keep_dead(self, reason)
            if reply is not None and self.wants_reply and self._owner.refusal(reply) is None:
                self._owner.send_reply(self.caller, self.correlation_id, reply)
            self._finish()

    def probe(self) -> None:
        """Ask whether its caller is still connected."""
        if not self.void and self.wants_reply:
            self._owner.probe(self.caller)

    def reject(self, *, requeue: bool) -> None:
        """Return it to its position in the queue, or drop it."""
        if self.accepted and not self.void:
            raise RuntimeError(f"{self!r} was accepted: it cannot be rejected, only answered or discarded")
        if self._may_settle():
            if requeue:
                self._owner.give_back(self)
                self._owner.done(self)
            else:
                self._finish()

    def _finish(self) -> None:
        if not self.accepted:
            self._owner.settle(self)
        self._owner.done(self)

    def _may_settle(self) -> bool:
        if self.void:
            return False
        if self.settled:
            raise RuntimeError(
                f"{self!r} was already settled: call only one of reply, discard, dead_letter and reject, and only once"
            )
        self.settled = True
        return True


class Broadcast(Delivery):
    """One broadcast: an ``IncomingBroadcast``. It is in no queue: settling it sends the reply, if there is one."""

    __slots__ = ()

    def announce(self, reply: Reply, /) -> None:
        """Send a reply without settling."""
        self._owner.send_reply(self.caller, self.correlation_id, reply)

    def reply(self, reply: Reply, /) -> None:
        """Send the reply."""
        if self._may_settle():
            self._owner.send_reply(self.caller, self.correlation_id, reply)

    def accept(self) -> None:
        """Do nothing: it counts as accepted."""

    def discard(self) -> None:
        """Send nothing."""
        self._may_settle()

    def dead_letter(self, reason: str, reply: Reply | None = None, /) -> None:
        """Send the reply, if there is one."""
        if self._may_settle() and reply is not None:
            self._owner.send_reply(self.caller, self.correlation_id, reply)

    def reject(self, *, requeue: bool) -> None:
        """Send nothing."""
        self._may_settle()
