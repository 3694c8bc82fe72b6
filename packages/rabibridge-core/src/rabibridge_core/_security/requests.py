"""Requests as an engine gets them once they were opened; their replies are sealed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from rabibridge_core._protocol.payloads import encode_failure
from rabibridge_core._protocol.remote_errors import RESULT_UNSENDABLE
from rabibridge_core.errors import RabiBridgeError

if TYPE_CHECKING:
    import asyncio

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._security.guard import Guard, Opened
    from rabibridge_core.transport import ControlRequest, Headers, IncomingBroadcast, IncomingRequest, Reply

__all__ = ["OpenedBroadcast", "OpenedControl", "OpenedRequest", "ReplySealer", "RequestOwner"]

_NO_HEADERS: Final[Headers] = {}


class RequestOwner(Protocol):
    """What a request tells its consumer."""

    def settled(self, request: OpenedRequest, size: int) -> None:
        """Called when it was settled, with a reply of this size; the broker may yet refuse a large one."""
        ...


class ReplySealer:
    """Seals the replies of one client or server."""

    __slots__ = ("codec", "guard")

    def __init__(self, guard: Guard, codec: Codec) -> None:
        """Seal with ``guard``; ``codec`` encodes failures."""
        self.guard = guard
        self.codec = codec

    def sealed(self, correlation_id: bytes, reply: Reply, encrypted_with: str) -> Reply:
        """Return a reply, encrypted if ``encrypted_with`` names the key of its request.

        Raises:
            RabiBridgeError: there is no key to seal with any more, or the body is too large once it is encrypted.
        """
        rules = self.guard.rules
        key_id = (rules.encryption_id or encrypted_with) if encrypted_with else ""
        return self.guard.seal("reply", correlation_id, reply, encrypt_with=key_id)

    def sealed_somehow(self, request: IncomingRequest, reply: Reply, encrypted_with: str) -> Reply:
        """Return a sealed reply, or a failure that says why there is none: that one is not signed if nothing can be."""
        try:
            if not encrypted_with:
                return self.guard.seal("reply", request.correlation_id, reply, encrypt_with="")
            return self.sealed(request.correlation_id, reply, encrypted_with)
        except RabiBridgeError as error:
            self.guard.refusals.add("unsealed", f"a reply cannot be sealed: {error}")
            failure = encode_failure(self.codec, request, error, RESULT_UNSENDABLE, None, unsendable=_ignore)
        try:
            return self.sealed(request.correlation_id, failure, encrypted_with)
        except RabiBridgeError:
            return failure


def _ignore(error: BaseException) -> None:
    """The headers of the failure say enough."""


class OpenedRequest:
    """A request whose signature was right. It is settled as the one that the transport has received."""

    __slots__ = (
        "_encrypted_with", "_owner", "_sealer", "body", "caller", "content_encoding", "content_type", "correlation_id",
        "deadline", "deliveries", "headers", "key_ids", "persistent", "received", "redelivered", "time_left",
        "wants_reply",
    )  # fmt: skip

    def __init__(self, received: IncomingRequest, opened: Opened, sealer: ReplySealer, owner: RequestOwner) -> None:
        """Stand for ``received``, which was opened."""
        self.received = received
        self._sealer = sealer
        self._owner = owner
        self._encrypted_with = opened.encrypted_with
        self.key_ids = opened.claims.key_id, opened.encrypted_with
        """The keys that it was signed and encrypted with; the latter is empty if it was not."""
        self.body, self.content_type, self.content_encoding, headers = opened.content
        self.headers: Headers = headers or _NO_HEADERS
        self.correlation_id = received.correlation_id
        self.caller = received.caller
        self.deliveries = received.deliveries
        self.redelivered = received.redelivered
        self.persistent = received.persistent
        self.wants_reply = received.wants_reply
        # The transport's own headers for these are not signed.
        deadline = opened.deadline
        self.deadline: float | None = None
        self.time_left: float | None = None
        if deadline is not None:
            self.deadline, self.time_left = deadline / 1000, max(deadline - opened.sent, 1) / 1000

    @property
    def user(self) -> str:
        """The user that sent it."""
        return self.received.user

    @property
    def void(self) -> bool:
        """Whether it can no longer be settled."""
        return self.received.void

    @property
    def address(self) -> str:
        """Where its caller can send further messages."""
        return self.received.address

    @property
    def reply_address(self) -> bytes:
        """Where its reply goes."""
        return self.received.reply_address

    def _sealed(self, reply: Reply) -> Reply:
        return self._sealer.sealed_somehow(self, reply, self._encrypted_with)

    def reply_part(self, reply: Reply, /) -> asyncio.Future[None] | None:
        """Send a reply that others follow."""
        return self.received.reply_part(self._sealed(reply))

    def reply(self, reply: Reply, /) -> None:
        """Send the reply, then settle."""
        sealed = self._sealer.sealed_somehow(self, reply, self._encrypted_with)
        self.received.reply(sealed)
        self._owner.settled(self, len(sealed.body))

    def accept(self) -> None:
        """Settle now, reply later."""
        self.received.accept()

    def discard(self) -> None:
        """Settle without a reply."""
        self.received.discard()
        self._owner.settled(self, 0)

    def reject(self, *, requeue: bool) -> None:
        """Return it to the queue, or drop it."""
        self.received.reject(requeue=requeue)
        self._owner.settled(self, 0)

    def dead_letter(self, reason: str, reply: Reply | None = None, /) -> None:
        """Move it to the dead-letter queue, as it was received, then reply and settle."""
        self.received.dead_letter(reason, None if reply is None else self._sealed(reply))
        self._owner.settled(self, 0)

    def probe(self) -> None:
        """Check whether the caller is still there."""
        self.received.probe()


class OpenedBroadcast(OpenedRequest):
    """A broadcast whose signature was right."""

    __slots__ = ("_broadcast",)

    def __init__(self, received: IncomingBroadcast, opened: Opened, sealer: ReplySealer, owner: RequestOwner) -> None:
        """Stand for ``received``, which was opened."""
        super().__init__(received, opened, sealer, owner)
        self._broadcast = received

    def announce(self, reply: Reply, /) -> None:
        """Say that this worker has it."""
        self._broadcast.announce(self._sealed(reply))


class OpenedControl:
    """A control request whose signature was right."""

    __slots__ = (
        "_encrypted_with", "_received", "_sealer", "body", "content_encoding", "content_type", "headers",
        "reply_address",
    )  # fmt: skip

    def __init__(self, received: ControlRequest, opened: Opened, sealer: ReplySealer) -> None:
        """Stand for ``received``, which was opened."""
        self._received = received
        self._sealer = sealer
        self._encrypted_with = opened.encrypted_with
        self.reply_address = received.reply_address
        self.body, self.content_type, self.content_encoding, headers = opened.content
        self.headers: Headers = headers or _NO_HEADERS

    @property
    def user(self) -> str:
        """The user that sent it."""
        return self._received.user

    @property
    def correlation_id(self) -> bytes:
        """The asker's identifier of the request."""
        return self._received.correlation_id

    def reply(self, reply: Reply, /) -> None:
        """Send the answer; one that cannot be sealed is not sent."""
        try:
            sealed = self._sealer.sealed(self.correlation_id, reply, self._encrypted_with)
        except RabiBridgeError as error:
            self._sealer.guard.refusals.add("unsealed", f"the answer to a control request cannot be sealed: {error}")
            return
        self._received.reply(sealed)
