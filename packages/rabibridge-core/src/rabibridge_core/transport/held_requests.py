"""A request that a worker has taken, until it is settled: what is the same for most brokers.

Transports may use these classes; they need not. The one for RabbitMQ does not: it builds frames instead of calling a
consumer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import asyncio

    from rabibridge_core.errors import ContentRejectedError
    from rabibridge_core.transport.messages import Headers, Reply

__all__ = ["HeldBroadcast", "HeldRequest", "RequestHolder"]


class RequestHolder(Protocol):
    """What a request uses of the consumer that has taken it; each request is of the consumer's own subclass."""

    @property
    def address(self) -> str:
        """Where callers send further messages of their calls; empty if the service takes none."""
        ...

    def refusal(self, reply: Reply, /) -> ContentRejectedError | None:
        """Return why the broker does not accept a reply; ``None`` if it does."""
        ...

    def reply_refused(self, request: Any, error: ContentRejectedError, /) -> None:
        """Ask for another reply to a request that is not settled yet, by ``ConsumerEvents.reply_refused``."""
        ...

    def send_reply(self, request: Any, reply: Reply, /) -> None:
        """Send a reply to the caller; for a request that was accepted, on the next connection if there is none."""
        ...

    def keep_dead(self, request: Any, reason: str, /) -> None:
        """Store a request among the dead letters."""
        ...

    def probe(self, request: Any, /) -> None:
        """Ask whether the caller is still there."""
        ...

    def accepted(self, request: Any, /) -> None:
        """Called when a request leaves its queue, and its reply is still to come."""
        ...

    def settled(self, request: Any, /) -> None:
        """Called when nothing more will happen to a request: it leaves its queue, unless it was accepted before."""
        ...

    def given_back(self, request: Any, /) -> None:
        """Called when a request is to return to its position in its queue."""
        ...


class HeldRequest:
    """One request from a queue: an ``IncomingRequest``. A subclass fills in what it says.

    Settling it twice, or giving it back after it was accepted, is a fault of the worker and raises RuntimeError. The
    transport sets :attr:`void` when the connection is lost: settling has no effect then. A request that was accepted
    before is not void, and can still be answered.
    """

    __slots__ = (
        "_holder", "accepted", "body", "caller", "content_encoding", "content_type", "correlation_id", "deadline",
        "deliveries", "headers", "persistent", "reply_was_refused", "settled", "time_left", "user", "void",
        "wants_reply",
    )  # fmt: skip

    caller: bytes
    correlation_id: bytes
    body: bytes
    content_type: str | None
    content_encoding: str | None
    time_left: float | None
    deadline: float | None
    headers: Headers
    deliveries: int
    persistent: bool
    wants_reply: bool
    user: str

    def __init__(self, holder: RequestHolder) -> None:
        """Hold a request that ``holder`` has taken."""
        self._holder = holder
        self.accepted = self.settled = self.void = self.reply_was_refused = False

    def __repr__(self) -> str:
        state = "void" if self.void else "settled" if self.settled else "accepted" if self.accepted else "unsettled"
        return f"<{type(self).__name__} {self.correlation_id!r} {state}>"

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
        return "" if self.settled or self.void else self._holder.address

    def reply_part(self, reply: Reply, /) -> asyncio.Future[None] | None:
        """Send a reply that others follow."""
        if self.settled or self.void:
            return None
        refusal = self._holder.refusal(reply)
        if refusal is None:
            self._holder.send_reply(self, reply)
            return None
        from asyncio import get_running_loop  # settings are read without it

        refused: asyncio.Future[None] = get_running_loop().create_future()
        refused.set_exception(refusal)
        refused.exception()  # whoever settles at once does not wait for it: asyncio need not log that
        return refused

    def reply(self, reply: Reply, /) -> None:
        """Send the reply, then settle; the first one that is too large is replaced by another one."""
        refusal = self._holder.refusal(reply)
        if refusal is not None and not (self.reply_was_refused or self.settled or self.void):
            self.reply_was_refused = True
            self._holder.reply_refused(self, refusal)
        elif self._may_settle():
            if refusal is None and self.wants_reply:
                self._holder.send_reply(self, reply)
            self._holder.settled(self)

    def accept(self) -> None:
        """Settle now and reply later: it is never redelivered, and no longer counts against ``fetch_size``."""
        if self.accepted:
            raise RuntimeError(f"{self!r} was already accepted: call accept() only once")
        if self._may_settle():
            self.accepted, self.settled = True, False  # reply and discard are still to come
            self._holder.accepted(self)

    def discard(self) -> None:
        """Settle without a reply."""
        if self._may_settle():
            self._holder.settled(self)

    def dead_letter(self, reason: str, reply: Reply | None = None, /) -> None:
        """Store it among the dead letters, send the reply if there is one, then settle."""
        if self._may_settle():
            self._holder.keep_dead(self, reason)
            if reply is not None and self.wants_reply and self._holder.refusal(reply) is None:
                self._holder.send_reply(self, reply)
            self._holder.settled(self)

    def probe(self) -> None:
        """Ask whether its caller is still connected."""
        if not self.void and self.wants_reply:
            self._holder.probe(self)

    def reject(self, *, requeue: bool) -> None:
        """Return it to its position in the queue, or drop it."""
        if self.accepted and not self.void:
            raise RuntimeError(f"{self!r} was accepted: it cannot be rejected, only answered or discarded")
        if self._may_settle():
            (self._holder.given_back if requeue else self._holder.settled)(self)

    def _may_settle(self) -> bool:
        if self.void:
            return False
        if self.settled:
            raise RuntimeError(
                f"{self!r} was already settled: call only one of reply, discard, dead_letter and reject, and only once"
            )
        self.settled = True
        return True


class HeldBroadcast(HeldRequest):
    """One broadcast, as one worker received it: an ``IncomingBroadcast``.

    It is in no queue: settling it sends the reply, if there is one, and nothing else.
    """

    __slots__ = ()

    def announce(self, reply: Reply, /) -> None:
        """Send a reply without settling."""
        self._holder.send_reply(self, reply)

    def reply(self, reply: Reply, /) -> None:
        """Send the reply."""
        if self._may_settle():
            self._holder.send_reply(self, reply)

    def accept(self) -> None:
        """Do nothing: it counts as accepted."""

    def discard(self) -> None:
        """Send nothing."""
        self._may_settle()

    def dead_letter(self, reason: str, reply: Reply | None = None, /) -> None:
        """Send the reply, if there is one."""
        if self._may_settle() and reply is not None:
            self._holder.send_reply(self, reply)

    def reject(self, *, requeue: bool) -> None:
        """Send nothing."""
        self._may_settle()
