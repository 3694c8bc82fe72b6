"""Tasks in the background, and closing something exactly once.

The event loop keeps only weak references to tasks: a task that nothing else refers to may be collected before it ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["CloseOnce", "TaskSet"]

T = TypeVar("T")


class TaskSet(set["asyncio.Task[Any]"]):
    """Tasks that run in the background. A task leaves the set when it ends."""

    def spawn(self, work: Coroutine[Any, Any, T], *, name: str | None = None) -> asyncio.Task[T]:
        """Run ``work`` in a task on the running event loop and keep it until it ends."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.add(task)
        task.add_done_callback(self.discard)
        return task


class CloseOnce:
    """Closes once, however often and by however many tasks it is called.

    Closing runs in a task of its own: a caller that is cancelled stops waiting, and closing continues to its end.
    """

    __slots__ = ("_task",)

    def __init__(self) -> None:
        """Nothing is closed yet."""
        self._task: asyncio.Task[None] | None = None

    @property
    def started(self) -> bool:
        """Whether closing has begun."""
        return self._task is not None

    async def __call__(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run ``close()`` unless that was done before, and wait until it has ended.

        Raises:
            BaseException: what ``close()`` raised, also on later calls.
        """
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(close())
        await asyncio.shield(self._task)
