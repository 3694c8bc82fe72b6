"""The state of queues, as the broker tells it to anybody who asks: how many messages wait, and how many consumers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiormq import exceptions as amqp

from rabibridge._connection.error_translation import translated
from rabibridge_core.operations.queues import QueueState

if TYPE_CHECKING:
    from rabibridge._connection.session import Session

__all__ = ["state_of"]


async def state_of(session: Session, queue: str) -> QueueState | None:
    """Return the state of a queue; ``None``: there is no such queue.

    Raises:
        ConfigurationError: the broker does not tell.
        ConnectionLostError: the connection is lost.
    """
    with translated(f"cannot look at the queue {queue!r}"):
        async with session.timeout():
            try:
                async with session.temporary_channel() as channel:
                    declared = await channel.queue_declare(queue, passive=True)
            except amqp.ChannelNotFoundEntity:
                return None
    return QueueState(queue, declared.message_count or 0, declared.consumer_count or 0)
