"""What lower modules of this package use of consumers and their channels, as protocols: they need not import them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from rabibridge._amqp.frames import Frames
    from rabibridge._amqp.properties import Properties
    from rabibridge._connection.session import Session
    from rabibridge._transport.outgoing_bundles import BundledReply
    from rabibridge_core.transport import ConsumerEvents, Reply, ServiceQueue

__all__ = [
    "CallKey",
    "DeliveryChannel",
    "Done",
    "PartFeeder",
    "ReplyFrames",
    "ReplyUnsentError",
    "RequestT_contra",
    "ServedQueue",
]

RequestT_contra = TypeVar("RequestT_contra", contravariant=True)
CallKey: TypeAlias = tuple[bytes, bytes, str]
"""Caller, correlation id, and the user that further messages of the call name."""
ReplyFrames: TypeAlias = "Frames | BundledReply"
"""What sends a reply, for :meth:`DeliveryChannel.write` and :meth:`DeliveryChannel.settle` of the same channel."""
Done: TypeAlias = Callable[[Exception | None], None]
"""Called with ``None`` once the broker has confirmed a message, or with the reason why it is not in its queue."""


class ReplyUnsentError(ConnectionLostError):
    """A reply was not sent, because its worker closes."""


class ServedQueue(Protocol):
    """A service queue that is being consumed."""

    @property
    def queue(self) -> ServiceQueue:
        """The queue and its limits."""
        ...

    @property
    def events(self) -> ConsumerEvents:
        """Where requests and losses are reported."""
        ...

    @property
    def stopped(self) -> bool:
        """Whether it takes no more requests."""
        ...

    @property
    def open_on(self) -> Session | None:
        """The connection on which it consumes now, ``None`` if it does not."""
        ...

    def probe(self, reply_to: bytes) -> None:
        """Find out whether a caller is still connected."""
        ...

    def reply_late(self, properties: Properties, reply: Reply) -> None:
        """Reply to an accepted request whose channel is closed, on the current channel or on the next one."""
        ...

    def spawn(self, operation: Coroutine[Any, Any, None]) -> None:
        """Run an operation on a channel in the background; the connection is not closed before it ends."""
        ...


class PartFeeder(Protocol):
    """What sends the parts of a reply, and so stands for a request that may get further messages of its caller."""

    @property
    def consumer(self) -> ServedQueue:
        """The consumer that the request was delivered to."""
        ...


class DeliveryChannel(Protocol[RequestT_contra]):
    """What a request and the redelivery counter use of the channel on which requests arrive."""

    @property
    def open(self) -> bool:
        """Whether the broker has not closed it."""
        ...

    @property
    def via_default_exchange(self) -> bool:
        """Whether the message that is being delivered has come through the default exchange."""
        ...

    @property
    def address(self) -> str:
        """Where callers can send further messages of their calls; empty if the service takes none."""
        ...

    @property
    def user_id(self) -> bytes:
        """The user of this connection."""
        ...

    @property
    def consumer(self) -> ServedQueue:
        """The consumer whose channel it is."""
        ...

    def encode_reply(self, properties: Properties, reply: Reply) -> ReplyFrames:
        """Return the frames that send a reply to the request with these properties.

        Nothing is returned if the broker may close the channel for it: :meth:`reply_apart` sends it.
        """
        ...

    def reply_apart(self, properties: Properties, reply: Reply, done: Done) -> None:
        """Send a reply where that harms no other request, and call ``done`` with the outcome."""
        ...

    def try_size(self, properties: Properties, reply: Reply, done: Done) -> bool:
        """Find out whether the broker accepts a body as large as that of ``reply``, and call ``done`` with the outcome.

        Returns:
            whether that is all that is in doubt; if not, nothing is done.
        """
        ...

    def write(self, frames: ReplyFrames) -> None:
        """Send complete frames of this channel; they are dropped if it is closed."""
        ...

    def flush(self) -> None:
        """Send the buffered frames now."""
        ...

    async def synchronize(self) -> None:
        """Wait until the broker has processed all that was sent on the channel."""
        ...

    def settle(self, frames: ReplyFrames, tag: int) -> None:
        """Send ``frames``, then acknowledge the request with this tag unless it is 0; the request is settled."""
        ...

    def accept(self, tag: int) -> None:
        """Acknowledge a request whose reply follows later."""
        ...

    def reject(self, tag: int, *, requeue: bool) -> None:
        """Reject a request; it is settled."""
        ...

    def dead_letter(self, request: RequestT_contra, reason: str, done: Done) -> None:
        """Publish a request to the dead-letter queue and call ``done`` with the outcome."""
        ...

    def probe(self, reply_to: bytes) -> None:
        """Find out whether a caller is still connected."""
        ...

    def feeds_to(self, call: CallKey, sender: PartFeeder) -> None:
        """Pass the further messages of a call to the consumer of ``sender``, as long as that exists."""
        ...
