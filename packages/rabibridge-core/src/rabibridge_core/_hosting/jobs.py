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
        lock: held until the coroutine has ended; the thread waits for it.
        direct: the loop may take its ``direct`` function instead, which has the same arguments.
        context: the context of the thread.
        queued: the loop will see it, or has seen it.
        abandoned: the thread no longer waits.
        finished: ``result`` or ``error`` is set.
        task: runs the coroutine; ``None``: it has not begun, or runs without a task.
        result: what the coroutine returned.
        error: what it raised; ``None``: nothing.
    """

    __slots__ = (
        "_awaited", "_coroutine", "_ended", "_left", "abandoned", "args", "context", "direct", "error", "finished",
        "function", "lock", "queued", "result", "task",
    )  # fmt: skip

    def __init__(
        self,
        function: Callable[..., Coroutine[Any, Any, Any]],
        args: tuple[Any, ...],
        *,
        direct: bool,
    ) -> None:
        """Queue nothing yet."""
        self.function = function
        self.args = args
        self.lock = allocate_lock()
        self.lock.acquire()
        self.direct = direct
        self.context = copy_context()
        self.queued = self.abandoned = self.finished = False
        self.task: asyncio.Task[None] | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self._awaited: asyncio.Future[Any] | None = None

    def begin(self, function: Callable[..., Coroutine[Any, Any, Any]], ended: Callable[[Job], None]) -> None:
        """Run ``function(*args)`` without a task; on the loop.

        Args:
            function: its coroutines wait for futures only, and do not ask for their task.
            ended: called when the coroutine has ended.
        """
        self._ended = ended
        self._left: Callable[[], object] | None = None
        self._coroutine = function(*self.args)
        self.context.run(self._resume, None)

    def _resume(self, _: asyncio.Future[Any] | None) -> None:
        try:
            awaited = self._coroutine.send(None)
        except StopIteration as stop:
            self.result = stop.value
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            self.error = error
        else:
            awaited._asyncio_future_blocking = False
            self._awaited = awaited
            awaited.add_done_callback(self._resume, context=self.context)
            return
        self._awaited = None
        if self._left is not None:
            self._left()
        self._ended(self)

    def cancel(self, left: Lock) -> None:
        """Cancel it, and release ``left`` when all that it writes for that was handed to the socket; on the loop."""
        if self.task is not None:
            loop = self.task.get_loop()
            self.task.cancel()
            # What it writes leaves in the turn after the one in which it ends.
            self.task.add_done_callback(lambda _: loop.call_soon(loop.call_soon, left.release))
        elif (awaited := self._awaited) is not None:
            loop = awaited.get_loop()
            self._left = lambda: loop.call_soon(loop.call_soon, left.release)
            awaited.cancel()  # no effect if its outcome is there: the coroutine ends by itself then
        else:
            left.release()
