"""Operations on channels of aiormq, which closes the channel of a cancelled one, and warns of it in the log."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from rabibridge_core._concurrency.background import TaskSet
from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Operations"]

ResultT = TypeVar("ResultT")


class Operations(TaskSet):
    """Operations that complete even if whoever waits for them is cancelled; for that, the connection stays open."""

    def __init__(self, name: str) -> None:
        """Start empty; ``name`` is that of the connection in errors."""
        super().__init__()
        self._name = name

    async def complete(self, operation: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run an operation and return its result.

        Raises:
            ConnectionLostError: it was given up, because the connection is about to be closed.
            Exception: what the operation raises.
        """
        task = self.spawn(operation)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if not task.cancelled() or (caller is not None and caller.cancelling()):
                raise
            raise ConnectionLostError(f"{self._name} was closed", executed=False) from None
