"""Looks at queues of services, empties and deletes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._protocol.naming import check_service_name, queue_name
from rabibridge_core.operations import OperationError, QueueState
from rabibridge_core.operations.letters import is_service_queue
from rabibridge_core.operations.wording import counted
from rabibridge_redis._operations.sessions import permitted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rabibridge_redis._session.session import Session

__all__ = ["Queues"]


class Queues:
    """The queues of services of a namespace."""

    def __init__(self, session: Session) -> None:
        """Use an open connection."""
        self._session = session

    async def state_of(self, queue: str) -> QueueState | None:
        """Return the state of a queue; ``None``: there is no such queue.

        Raises:
            ConfigurationError: the server refuses.
            ConnectionLostError: the connection is lost.
        """
        with permitted(f"to look at the queue {queue!r}"):
            found = await self._session.ask("look", queue)
        return None if found == -1 else QueueState(queue, waiting=found[1], consumers=found[0])

    async def find(self, names: Iterable[str]) -> list[QueueState]:
        """Return the queues that exist of these names, each once.

        Raises:
            ConfigurationError: a name is neither that of a service nor of a queue, or the server refuses.
            ConnectionLostError: the connection is lost.
        """
        queues = dict.fromkeys(queue for name in names for queue in _candidates(name))
        states = [await self.state_of(queue) for queue in queues]
        return [state for state in states if state is not None]

    async def purge(self, queue: str) -> int:
        """Delete the calls that wait in a queue; return how many. Their callers see them end at their deadlines.

        Raises:
            ConfigurationError: the server refuses.
            ConnectionLostError: the connection is lost.
        """
        deleted = 0
        with permitted(f"to empty the queue {queue!r}"):
            while count := await self._session.ask("empty", queue):
                deleted += count
        return deleted

    async def delete(self, queue: str, *, if_unused: bool = True) -> int:
        """Delete a queue; return how many calls waited in it. Their callers see them end at their deadlines.

        A worker that starts in the moment between the look at the queue and its end declares it again.

        Raises:
            ConfigurationError: the server refuses.
            ConnectionLostError: the connection is lost.
            OperationError: it has consumers, and ``if_unused`` is set.
        """
        state = await self.state_of(queue)
        if state is None:
            return 0
        if if_unused and state.consumers:
            raise OperationError(
                f"the queue {queue!r} has {counted(state.consumers, 'consumer')}: stop the workers of the service "
                "first, or delete it all the same with --in-use, after which they declare it again"
            )
        with permitted(f"to delete the queue {queue!r}"):
            await self._session.ask("delete", queue, "0")
        return state.waiting


def _candidates(name: str) -> list[str]:
    if is_service_queue(name, ""):
        return [name]
    check_service_name(name)
    return [queue_name(name, is_async=is_async) for is_async in (True, False)]
