"""Threads of a simulation: none. The work runs at once in a turn of the event loop, and its end is told later."""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SimulatedThreads"]

_TAKES = 0.1


class SimulatedThreads:
    """Stands for a ``DaemonThreadPool``: up to ``limit`` works at a time, each of which takes 0.1 s."""

    def __init__(self, limit: int, name: str) -> None:
        """Be idle."""
        self._limit, self._busy = limit, 0
        self._waiting: deque[tuple[Future[Any], Callable[[], Any]]] = deque()

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        """Run ``work``, after the works that were submitted before it."""
        future: Future[Any] = Future()
        self._waiting.append((future, work))
        asyncio.get_running_loop().call_soon(self._start)
        return future

    def close(self, *, drop_waiting: bool) -> None:
        """Cancel what waits, if that is wanted."""
        while drop_waiting and self._waiting:
            self._waiting.popleft()[0].cancel()

    def _start(self) -> None:
        while self._waiting and self._busy < self._limit:
            future, work = self._waiting.popleft()
            if future.set_running_or_notify_cancel():
                self._busy += 1
                asyncio.get_running_loop().call_later(_TAKES, self._end, future, work)

    def _end(self, future: Future[Any], work: Callable[[], Any]) -> None:
        self._busy -= 1
        with suppress(asyncio.InvalidStateError):
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - the future carries it
                future.set_exception(error)
        self._start()
