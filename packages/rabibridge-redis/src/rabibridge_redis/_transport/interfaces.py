"""What a consumer uses of its transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from rabibridge_core.transport import Reply

__all__ = ["ConsumerHost"]


class ConsumerHost(Protocol):
    """What a consumer uses of its transport.

    Attributes:
        max_message_size: the largest body that is sent, in bytes.
    """

    max_message_size: int

    def send_reply(self, receiver: bytes, correlation_id: bytes, reply: Reply, /) -> None:
        """Send a reply, now or on the next connection."""
        ...

    def write_replies(self) -> None:
        """Send the replies of this turn, before anything else is sent."""
        ...

    def probe(self, caller: bytes, /) -> None:
        """Ask whether a caller is still there."""
        ...

    def keep_dead(self, queue: str, reason: str, deliveries: int, meta: bytes, body: bytes, /) -> None:
        """Store a request among the dead letters."""
        ...

    def queue_gone(self, consumer: Any, /) -> None:
        """Called when the queue was deleted: declare it again."""
        ...

    def lease_ended(self) -> None:
        """Called when others may have taken over what this session holds."""
        ...

    def forget(self, consumer: Any, /) -> None:
        """Drop a consumer that is stopped and has nothing unsettled."""
        ...
