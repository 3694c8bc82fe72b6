"""Finds the queue that the other kind of a service has left behind, and removes it if that loses nothing.

When a function is changed from ``async def`` to ``def`` or back, the queue of its old kind stays on the broker. Calls
of kind ``any`` must not be sent there, where no worker takes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiormq import exceptions as amqp

from rabibridge._amqp.control_methods import DELETE_OK, delete_unused
from rabibridge._amqp.methods import NOT_IMPLEMENTED
from rabibridge._connection.error_translation import translated
from rabibridge_core._protocol.broker_texts import both_served, left_behind
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel

    from rabibridge._connection.service_queues import ServiceQueues
    from rabibridge._connection.session import Session
    from rabibridge_core.transport import ServiceQueue

__all__ = ["OtherKinds"]

_log = get_logger(__name__)


class OtherKinds:
    """The queues of the other kinds of a worker's services, over all of its connections."""

    def __init__(self, name: str) -> None:
        """Log under the name of a worker."""
        self.found: dict[str, ServiceQueue] = {}
        """Services of which a queue of the other kind exists, by the name of their own queue."""
        self._name = name
        self._logged: dict[str, str] = {}
        self._conditional = True  # whether the broker can delete a queue only if it is unused and empty

    async def settle(self, session: Session, queues: ServiceQueues, queue: ServiceQueue) -> None:
        """Remove the queue of the other kind if it is unused and empty; else log it, and send it no calls of any kind.

        Raises:
            ConnectionLostError: the connection is lost.
        """
        other = queue.other_queue
        if other is None or not queue.any_keys:
            return
        try:
            with translated(f"the queue {other!r} cannot be checked"):
                state = await self._settle(session, queues, queue, other)
        except ConfigurationError as error:
            _log.info(
                "%s: %s", self._name, error,
                extra=log_fields("queue.other_kind", instance=self._name, queue=queue.name, error=error),
            )  # fmt: skip
            return
        if state:
            self.found[queue.name] = queue
            if self._logged.get(queue.name) != state:
                _log.warning(
                    "%s: %s", self._name, state,
                    extra=log_fields("queue.other_kind", instance=self._name, queue=queue.name),
                )  # fmt: skip
        else:
            self.found.pop(queue.name, None)
        self._logged[queue.name] = state

    async def _settle(self, session: Session, queues: ServiceQueues, queue: ServiceQueue, other: str) -> str:
        """Return a sentence about the other queue; empty if there is none any more."""
        if self._conditional and queue.queue_type == "classic":
            # Silent if there is no such queue, while a passive declaration would write an error to the broker's log.
            try:
                await queues.pipeline.request(lambda: (delete_unused(other),), DELETE_OK)
            except amqp.ChannelPreconditionFailed:
                pass  # it is in use, or not empty
            except Exception:
                # A quorum queue cannot be deleted so: the broker closes the connection.
                self._conditional = session.multiplexer.close_code != NOT_IMPLEMENTED
                raise
            else:
                return ""
        try:
            async with queues.pool.channel() as channel:
                return await self._inspect(channel, queue, other, session.names.any_exchange)
        except amqp.ChannelNotFoundEntity:
            return ""

    async def _inspect(self, channel: AbstractChannel, queue: ServiceQueue, other: str, any_exchange: str) -> str:
        found = await channel.queue_declare(other, passive=True)
        if found.consumer_count:
            return both_served(*(queue.name, other) if queue.preferred else (other, queue.name))
        for key in queue.any_keys if not queue.preferred else ():
            await channel.queue_unbind(other, any_exchange, key)
        if found.message_count:
            return left_behind(queue.name, other, found.message_count)
        # A quorum queue cannot be deleted on condition. A call that arrives just now would never be answered, anyway.
        await channel.queue_delete(other)
        return ""
