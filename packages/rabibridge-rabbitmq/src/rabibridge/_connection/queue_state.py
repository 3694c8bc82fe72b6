"""The state of a queue, as the broker tells it to anybody who asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge._connection.error_translation import translated
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from rabibridge._connection.session import Session

__all__ = ["look_at_queue"]


async def look_at_queue(session: Session, queue: str) -> tuple[int, int] | None:
    """Return how many consumers and messages a queue has; ``None`` if the broker does not tell.

    Raises:
        ConnectionLostError: the connection is lost.
    """
    try:
        with translated(f"cannot look at the queue {queue!r}"):
            async with session.timeout(), session.temporary_channel() as channel:
                declared = await channel.queue_declare(queue, passive=True)
    except (ConfigurationError, ConnectionLostError):
        if session.error is not None:
            raise
        return None
    return declared.consumer_count or 0, declared.message_count or 0
