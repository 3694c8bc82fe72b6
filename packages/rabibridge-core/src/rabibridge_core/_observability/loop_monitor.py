"""Notices from outside that the event loop stands still, and says which handler holds it.

A handler that blocks the loop holds up every other call of its process, and the heartbeats with them.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from time import monotonic
from typing import TYPE_CHECKING

from rabibridge_core._protocol.remote_errors import is_engine_code

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["LoopMonitor"]

_log = logging.getLogger(__name__)
_LATE = 0.5
"""A watch that wakes up so much too late was held up itself, in seconds: it cannot tell what the loop did meanwhile."""


class LoopMonitor:
    """Watches one event loop from a thread of its own."""

    def __init__(
        self, service_of: Callable[[asyncio.Task[object]], str | None], *, limit: float = 1.0, pause: float = 0.5
    ) -> None:
        """Watch the running event loop, from :meth:`start` on.

        Args:
            service_of: tells whose handler a task runs; asked from another thread.
            limit: how long the loop may stand still before that is logged, in seconds.
            pause: how long to wait before looking again, in seconds.
        """
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._service_of = service_of
        self._limit = limit
        self._pause = pause
        self._changed = threading.Condition()
        self._turned = True
        self._stopped = False

    def start(self) -> None:
        """Begin; the thread does not keep the process from ending."""
        threading.Thread(target=self._run, name="rabibridge-loop-watch", daemon=True).start()

    def stop(self) -> None:
        """End. The thread ends at once, but is not waited for."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _turn(self) -> None:
        with self._changed:
            self._turned = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._stopped, self._pause):
                    return
                self._turned = False
            asked = monotonic()
            try:
                self._loop.call_soon_threadsafe(self._turn)
            except RuntimeError:
                return  # the loop is closed
            if not self._turns_within(self._limit):
                self._report(asked)

    def _turns_within(self, limit: float | None) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._turned or self._stopped, limit)

    def _report(self, asked: float) -> None:
        who = "something"
        # If it was held up as well, the process was stopped, or a library kept all threads from running; what runs now
        # need not be what did that.
        if monotonic() - asked < self._limit + _LATE:
            task = asyncio.current_task(self._loop)
            who = self._name(task)
            _log.warning(
                "%s has blocked the event loop for %g s%s: the other calls and the heartbeats of this process wait",
                who, self._limit, _place(sys._current_frames().get(self._loop_thread)),
            )  # fmt: skip
        while not self._turns_within(1.0):
            if self._loop.is_closed():
                return
        if self._turned:
            _log.warning("%s blocked the event loop for %.1f s in all; it turns again", who, monotonic() - asked)

    def _name(self, task: asyncio.Task[object] | None) -> str:
        if task is None:
            return "a callback"
        service = self._service_of(task)
        return f"the task {task.get_name()!r}" if service is None else f"the handler of service {service!r}"


def _place(frame: FrameType | None) -> str:
    """Tell where the loop stands, and where the code that was called from here is, if that is somewhere else."""
    if frame is None:
        return ""
    outer = inner = frame
    while outer.f_back is not None and not is_engine_code(outer.f_back.f_code):
        outer = outer.f_back
    where = f" at {_line(inner)}"
    return where if outer is inner or outer.f_back is None else f"{where}, called from {_line(outer)}"


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
