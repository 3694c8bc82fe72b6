"""A thread pool for sync handlers that never keeps a process from exiting.

The pool of the standard library joins its threads when the interpreter exits: one handler that hangs would block the
exit of a server. These threads are daemon threads.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from rabibridge_core._clock import carried, outside

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DaemonThreadPool", "joined"]


T = TypeVar("T")


def joined(future: Future[T]) -> asyncio.Future[T]:
    """Return a future of the running event loop that ends as ``future``, which a thread works for."""
    waiting = asyncio.wrap_future(future)
    outside(waiting)
    return waiting


class DaemonThreadPool:
    """Runs work in up to ``limit`` threads, which are started on demand."""

    def __init__(self, limit: int, name: str) -> None:
        """Start no thread yet."""
        self._limit = limit
        self._name = name
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Run ``work`` in a thread; if all are busy, after the work submitted before it. Not after :meth:`close`.

        Raises:
            RuntimeError: no thread runs, and none can be started now. The work will not run; the next call tries again.
        """
        future: Future[Any] = Future()
        self._work.put((future, carried(work)))
        if not self._idle.acquire(blocking=False) and self._started < self._limit:
            try:
                threading.Thread(target=self._run, name=f"{self._name}-{self._started + 1}", daemon=True).start()
            except RuntimeError:
                if not self._started:
                    self._work.get_nowait()  # nobody else takes it
                    raise
            else:
                self._started += 1
        return future

    def close(self, *, drop_waiting: bool) -> None:
        """Let the threads end. Running work cannot be stopped; waiting work is run first or, if dropped, cancelled."""
        while drop_waiting and not self._work.empty():
            item = self._work.get()
            if item is not None:
                item[0].cancel()
        self._work.put(None)

    def _run(self) -> None:
        while True:
            if self._work.empty():
                self._idle.release()
            item = self._work.get()
            if item is None:
                self._work.put(None)  # for the next thread
                return
            future, work = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # noqa: BLE001 - the future carries it
                    future.set_exception(error)
            del future, work, item
