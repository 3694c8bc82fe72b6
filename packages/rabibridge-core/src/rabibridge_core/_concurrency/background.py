"""Tasks in the background, and closing something exactly once.

The event loop keeps only weak references to tasks: a task that nothing else refers to may be collected before it ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["CloseOnce", "SharedTask", "TaskSet", "repeat", "sleep_unless"]

_log = get_logger(__name__)

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


class SharedTask:
    """Runs something in a task that several callers may wait for. Without anybody who waits, it is cancelled."""

    __slots__ = ("_name", "_task", "_waiting")

    def __init__(self, name: str) -> None:
        """Run nothing yet; ``name`` is the name of the task."""
        self._name = name
        self._task: asyncio.Task[None] | None = None
        self._waiting = 0

    async def __call__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run ``work()`` unless it is running already, and wait until it has ended.

        Raises:
            BaseException: what ``work()`` raised.
        """
        while self._task is not None and self._task.cancelling() and not self._task.done():
            await asyncio.wait((self._task,))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(work(), name=self._name)
            self._task.add_done_callback(_retrieved)
        task = self._task
        self._waiting += 1
        try:
            await asyncio.shield(task)
        finally:
            self._waiting -= 1
            if not self._waiting and not task.done():
                task.cancel()

    async def ended(self) -> None:
        """Wait until nothing runs."""
        if self._task is not None:
            await asyncio.wait((self._task,))


def _retrieved(task: asyncio.Task[None]) -> None:
    """Take the outcome of a task whose callers are gone, which asyncio would log as an error of nobody."""
    if not task.cancelled():
        task.exception()


async def repeat(interval: float, work: Callable[[], None]) -> None:
    """Call ``work`` every ``interval`` seconds until the task is cancelled; what it raises is logged."""
    while True:
        await asyncio.sleep(interval)
        try:
            work()
        except Exception:  # noqa: BLE001 - the next one may succeed
            _log.exception(
                "%s failed, and is called again in %g s", work.__qualname__, interval,
                extra=log_fields("process.task_failed", delay=interval),
            )  # fmt: skip


async def sleep_unless(seconds: float, *events: asyncio.Event) -> None:
    """Sleep until the time is over, or one of the events is set."""
    waiters = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
