"""Deletes the queue of a service that no worker serves any more, if no call is lost by that."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from aiormq import exceptions as amqp

from rabibridge._connection.error_translation import translated

if TYPE_CHECKING:
    from rabibridge._connection.service_queues import ServiceQueues
    from rabibridge_core.transport import ServiceQueue

__all__ = ["delete_unused"]


async def delete_unused(queues: ServiceQueues, queue: ServiceQueue) -> bool:
    """Delete a queue unless it has consumers or waiting requests; return whether it is gone.

    The broker checks and deletes a classic queue in one step. For quorum queues it offers no such step: a call that
    arrives in the moment between the two is deleted with the queue, and ends as one that is not answered.

    Raises:
        ConfigurationError: the broker refuses, or the queue exists with other limits.
        ConnectionLostError: the connection is lost.
    """
    found = await queues.declare(replace(queue, redeclare=False))  # tells its type, on which the way depends
    queues.take_declared(queue)
    with translated(f"the queue {queue.name!r} cannot be deleted"):
        async with queues.pool.channel() as channel:
            if found.queue_type == "classic":
                try:
                    await channel.queue_delete(queue.name, if_unused=True, if_empty=True)
                except amqp.ChannelPreconditionFailed:
                    return False
                return True
            state = await channel.queue_declare(queue.name, passive=True)
            if state.consumer_count or state.message_count:
                return False
            await channel.queue_delete(queue.name)
    return True
