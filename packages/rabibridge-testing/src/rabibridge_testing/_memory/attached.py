"""What the in-memory broker uses of the transports that are attached to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

    from rabibridge_core.transport import Reply
    from rabibridge_testing._memory.messages import Message

__all__ = ["AttachedTransport"]


class AttachedTransport(Protocol):
    """What a router uses of the transports that are attached to it.

    Attributes:
        name: the name of the transport, used in errors.
        loop: the event loop that the transport is connected on.
        address: where callers send further messages of calls that it processes; empty without a connection.
    """

    name: str
    loop: asyncio.AbstractEventLoop
    address: str

    def cancelled(self, routing_key: str, caller: bytes, correlation_id: bytes, user: str) -> None:
        """Called when ``caller``, of this user, has cancelled a call to the service of ``routing_key``."""
        ...

    def fed(self, caller: bytes, correlation_id: bytes, message: Reply, user: str) -> None:
        """Called when ``caller``, of this user, has sent a further message of a call."""
        ...

    def serves(self, routing_key: str) -> bool:
        """Tell whether it receives broadcasts to the service of ``routing_key``."""
        ...

    def broadcast_arrived(self, message: Message) -> None:
        """Called when a broadcast has arrived."""
        ...

    def queue_deleted(self) -> None:
        """Called when a queue was deleted: one that was refused because of its limits may be declared now."""
        ...

    def withdraw(self) -> None:
        """Take no more requests from any queue."""
        ...

    def abandon(self) -> None:
        """Close without a running event loop."""
        ...
