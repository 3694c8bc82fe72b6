"""What the in-memory broker uses of the transports that are attached to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import asyncio

    from rabibridge_testing._memory.messages import Message

__all__ = ["AttachedTransport"]


class AttachedTransport(Protocol):
    """What a router uses of the transports that are attached to it.

    Attributes:
        name: the name of the transport, used in errors.
        loop: the event loop that the transport is connected on.
    """

    name: str
    loop: asyncio.AbstractEventLoop

    def cancelled(self, routing_key: str, caller: bytes, correlation_id: bytes) -> None:
        """Called when ``caller`` has cancelled a call to the service of ``routing_key``."""
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
