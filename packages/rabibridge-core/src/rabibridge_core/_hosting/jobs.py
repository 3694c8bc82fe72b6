"""A coroutine that a thread gives to an event loop in another thread, and waits for."""

from __future__ import annotations

from _thread import allocate_lock
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine
    from threading import Lock

__all__ = ["Job"]


class Job:
    """A coroutine to run in the context of the thread that made this, and what became of it.

    Attributes:
        function: makes the coroutine.
        args: the arguments of ``function``.
        context: the context of the thread.
        lock: held until the coroutine has ended; the thread waits for it.
        queued: the loop will see it, or has seen it.
        abandoned: the thread no longer waits.
        finished: ``result`` or ``error`` is set.
        task: runs the coroutine; ``None``: it has not begun.
        result: what the coroutine returned.
        error: what it raised; ``None``: nothing.
    """

    __slots__ = ("abandoned", "args", "context", "error", "finished", "function", "lock", "queued", "result", "task")

    def __init__(self, function: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> None:
        """Queue nothing yet."""
        self.function = function
        self.args = args
        self.context = copy_context()
        self.lock = allocate_lock()
        self.lock.acquire()
        self.queued = self.abandoned = self.finished = False
        self.task: asyncio.Task[None] | None = None
        self.result: Any = None
        self.error: BaseException | None = None

    def cancel(self, left: Lock) -> None:
        """Cancel it, and release ``left`` when all that it writes for that was handed to the socket; on the loop."""
        if self.task is None:
            left.release()
            return
        loop = self.task.get_loop()
        self.task.cancel()
        # What it writes leaves in the turn after the one in which it ends.
        self.task.add_done_callback(lambda _: loop.call_soon(loop.call_soon, left.release))
