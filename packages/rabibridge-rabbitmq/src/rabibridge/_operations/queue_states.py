"""The state of queues, as the broker tells it to anybody who asks: how many messages wait, and how many consumers."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiormq import exceptions as amqp

from rabibridge._connection.error_translation import translated

if TYPE_CHECKING:
    from rabibridge._connection.session import Session

__all__ = ["QueueState", "state_of"]


class QueueState(NamedTuple):
    """A queue that exists.

    Attributes:
        name: its name on the broker.
        waiting: messages that wait. Those that consumers hold are not counted.
        consumers: consumers, of which each running worker is one.
    """

    name: str
    waiting: int
    consumers: int


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
