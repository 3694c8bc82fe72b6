"""Detects from another thread that the event loop is blocked, and names the handler that blocks it.

A handler that blocks the loop delays all other calls of its process, and the heartbeats of its connection.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from rabibridge_core._protocol.remote_errors import is_engine_code
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

__all__ = ["LoopMonitor"]

_log = get_logger(__name__)
_LATE = 0.5
"""If the monitor wakes up this much too late, in seconds, it was blocked as well and cannot tell what blocked the
loop."""
_KEPT = 120
"""How many lags are kept: those of a minute."""


class LoopMonitor:
    """Monitors one event loop from a thread of its own."""

    def __init__(
        self, service_of: Callable[[asyncio.Task[object]], str | None], *, limit: float = 1.0, pause: float = 0.5
    ) -> None:
        """Monitor the running event loop, after :meth:`start`.

        Args:
            service_of: returns the service whose handler a task runs; called from another thread.
            limit: how long the loop may be blocked before that is logged, in seconds.
            pause: interval between checks, in seconds.
        """
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._service_of = service_of
        self._limit = limit
        self._pause = pause
        self._changed = threading.Condition()
        self._turned = True
        self._stopped = False
        self._asked = monotonic()
        self._lags: deque[float] = deque(maxlen=_KEPT)

    def start(self) -> None:
        """Start the thread, which does not keep the process from exiting."""
        threading.Thread(target=self._run, name="rabibridge-loop-watch", daemon=True).start()

    def stop(self) -> None:
        """Stop the thread, without waiting for it."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    @property
    def lag(self) -> float | None:
        """How long the loop took to react when it was last checked, in seconds; ``None``: it was not checked yet."""
        return self._lags[-1] if self._lags else None

    def longest_lag(self) -> float | None:
        """Return the longest lag of the last minute, in seconds; ``None``: the loop was not checked yet."""
        return max(self._lags, default=None)

    def _turn(self) -> None:
        self._lags.append(monotonic() - self._asked)
        with self._changed:
            self._turned = True
            self._changed.notify()

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._stopped, self._pause):
                    return
                self._turned = False
            asked = self._asked = monotonic()
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
        who, service = "something", None
        # If this thread was blocked too, the process was suspended or a library held the GIL; the task that runs now
        # need not be the cause.
        if monotonic() - asked < self._limit + _LATE:
            task = asyncio.current_task(self._loop)
            who, service = self._name(task)
            _log.warning(
                "%s has blocked the event loop for %g s%s: all other calls and heartbeats of this process are waiting",
                who, self._limit, _place(sys._current_frames().get(self._loop_thread)),
                extra=log_fields("loop.blocked", service=service, duration=self._limit),
            )  # fmt: skip
        while not self._turns_within(1.0):
            if self._loop.is_closed():
                return
        if self._turned:
            blocked = monotonic() - asked
            _log.warning(
                "%s blocked the event loop for %.1f s in total; it is running again", who, blocked,
                extra=log_fields("loop.released", service=service, duration=blocked),
            )  # fmt: skip

    def _name(self, task: asyncio.Task[object] | None) -> tuple[str, str | None]:
        if task is None:
            return "a callback", None
        service = self._service_of(task)
        return f"the task {task.get_name()!r}" if service is None else f"the handler of service {service!r}", service


def _place(frame: FrameType | None) -> str:
    """Return where the loop is blocked, and which handler code led there, if that is somewhere else."""
    if frame is None:
        return ""
    outer = inner = frame
    while outer.f_back is not None and not is_engine_code(outer.f_back.f_code):
        outer = outer.f_back
    where = f" at {_line(inner)}"
    return where if outer is inner or outer.f_back is None else f"{where}, called from {_line(outer)}"


def _line(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}"
