"""Looks at queues of services, empties and deletes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiormq import exceptions as amqp

from rabibridge._amqp.methods import NOT_IMPLEMENTED
from rabibridge._connection.error_translation import translated
from rabibridge._operations.operator_session import connection_name
from rabibridge._operations.queue_states import state_of
from rabibridge_core._protocol.naming import check_service_name, queue_name
from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.operations.errors import OperationError
from rabibridge_core.operations.letters import is_service_queue
from rabibridge_core.operations.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rabibridge._connection.names import Names
    from rabibridge._connection.session import Session
    from rabibridge_core.operations.queues import QueueState

__all__ = ["OperatedQueues"]


class OperatedQueues:
    """The queues of services of a namespace on a virtual host."""

    def __init__(self, session: Session) -> None:
        """Use an open connection."""
        self._session = session

    async def find(self, names: Iterable[str]) -> list[QueueState]:
        """Return the queues that exist of these names, each once.

        Args:
            names: names of services, which stand for their queues of both kinds, or of queues.

        Raises:
            ConfigurationError: a name is neither, or the broker does not tell.
            ConnectionLostError: the connection is lost.
        """
        names_in_use = self._session.names
        candidates = dict.fromkeys(candidate for name in names for candidate in _candidates(name, names_in_use))
        states = [await state_of(self._session, candidate) for candidate in candidates]
        return [state for state in states if state is not None]

    async def purge(self, queue: str) -> int:
        """Delete the calls that wait in a queue; return how many. Their callers see them end at their deadlines.

        Raises:
            ConfigurationError: there is no such queue, or it may not be read.
            ConnectionLostError: the connection is lost.
        """
        with translated(f"the queue {queue!r} cannot be emptied"):
            async with self._session.timeout(), self._session.temporary_channel() as channel:
                return (await channel.queue_purge(queue)).message_count or 0

    async def delete(self, queue: str, *, if_unused: bool = True) -> int:
        """Delete a queue; return how many calls waited in it. Their callers see them end at their deadlines.

        Args:
            queue: its name.
            if_unused: refuse if it has consumers. The broker checks that and deletes a classic queue in one step; for a
                quorum queue it offers no such step, and a worker that starts in the moment between the two has to
                declare its queue again, as it does.

        Raises:
            ConfigurationError: it may not be deleted.
            ConnectionLostError: the connection is lost.
            OperationError: it has consumers.
        """
        state = await state_of(self._session, queue)
        if state is None:
            return 0
        if if_unused and state.consumers:
            raise _in_use(queue, state.consumers)
        deleted = await self._delete_unused(queue) if if_unused else None
        return await _delete(self._session, queue, if_unused=False) if deleted is None else deleted

    async def _delete_unused(self, queue: str) -> int | None:
        """Delete a queue without consumers; return ``None`` if the broker cannot do that in one step."""
        # A broker that cannot delete such a queue on condition closes the connection: ours is to stay.
        trial = await self._session.open_another(connection_name("queue delete"))
        try:
            return await _delete(trial, queue, if_unused=True)
        except ConnectionLostError:
            if trial.multiplexer.close_code != NOT_IMPLEMENTED:
                raise
            return None
        finally:
            await trial.close()


async def _delete(session: Session, queue: str, *, if_unused: bool) -> int:
    with translated(f"the queue {queue!r} cannot be deleted"):
        try:
            async with session.timeout(), session.temporary_channel() as channel:
                return (await channel.queue_delete(queue, if_unused=if_unused)).message_count or 0
        except amqp.ChannelPreconditionFailed as error:
            raise _in_use(queue, None) from error


def _candidates(name: str, names: Names) -> list[str]:
    if is_service_queue(name, names.namespace) or is_service_queue(name, ""):
        return [names.operated_queue(name)]
    check_service_name(name)
    return [names.queue(queue_name(name, is_async=is_async)) for is_async in (True, False)]


def _in_use(queue: str, consumers: int | None) -> OperationError:
    count = "consumers" if consumers is None else counted(consumers, "consumer")
    return OperationError(
        f"the queue {queue!r} has {count}: stop the workers of the service first, or delete it all the same with "
        "--in-use, after which they declare it again"
    )
