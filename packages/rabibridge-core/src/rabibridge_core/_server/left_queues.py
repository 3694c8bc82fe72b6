"""Deletes the queues of the classes that a running service has lost, as by a hot reload.

Callers that name such a class would go on sending to its queue, which nobody serves any more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import RabiBridgeError
from rabibridge_core.transport import QueueDeleter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.transport import ServiceQueue, Transport

__all__ = ["delete_left", "left_queues"]

_log = get_logger(__name__)


def left_queues(before: ServiceSchema, now: ServiceSchema) -> list[ServiceQueue]:
    """Return the queues of classes that a service had and has no more."""
    names = {queue.name for queue in now.queues}
    return [queue for queue in before.queues[1:] if queue.name not in names]


async def delete_left(transport: Transport, queues: Sequence[ServiceQueue], finishing: asyncio.Future[int]) -> None:
    """Delete queues once the requests in flight are finished, unless somebody else uses them."""
    await asyncio.wait((finishing,))
    for queue in queues:
        why = "calls wait in it, or another worker serves it"
        try:
            if isinstance(transport, QueueDeleter) and await transport.delete_unused(queue):
                continue
        except RabiBridgeError as error:
            why = str(error)
        _log.warning(
            "the queue %r of a class that the service has no more is not deleted, and gets the calls that name the "
            "class: %s", queue.name, why,
            extra=log_fields("service.class_queue_left", queue=queue.name),
        )  # fmt: skip
