"""Threads for sync handlers that never keep a process from ending.

The standard library's pool joins its threads when the interpreter exits: one handler that hangs would hold a server
that was told to stop. These are daemon threads.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DaemonThreadPool"]


class DaemonThreadPool:
    """Runs work in up to ``limit`` threads, which are started when needed."""

    def __init__(self, limit: int, name: str) -> None:
        """Start none yet."""
        self._limit = limit
        self._name = name
        self._work: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._started = 0

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Run ``work`` in a thread, after what was submitted before if all are busy. Not for use after close()."""
        future: Future[Any] = Future()
        self._work.put((future, work))
        if not self._idle.acquire(blocking=False) and self._started < self._limit:
            self._started += 1
            threading.Thread(target=self._run, name=f"{self._name}-{self._started}", daemon=True).start()
        return future

    def close(self, *, drop_waiting: bool) -> None:
        """Let the threads end; what runs cannot be stopped, what waits is run first or cancelled."""
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
                except BaseException as error:  # noqa: BLE001 - whoever waits for the future gets it
                    future.set_exception(error)
            del future, work, item
