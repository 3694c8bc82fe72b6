"""Reaps processes that have lost their parent, if this process is the init process of its container."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OrphanReaper"]

_log = get_logger(__name__)


class OrphanReaper:
    """Reaps children that this process did not start: the system gives those of ended processes to process 1."""

    def __init__(self, own: Callable[[], set[int]]) -> None:
        """Leave alone the processes that ``own`` returns."""
        self._own = own
        self.active = os.getpid() == 1 and hasattr(os, "waitid")
        """Whether there is anything to do."""

    def start(self) -> None:
        """Begin, on the running event loop."""
        if self.active:
            asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self.reap)
            self.reap()

    def reap(self) -> None:
        """Reap all that have ended. One of our own that has ended hides those behind it until it is reaped."""
        while self.active:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                if ended is None or ended.si_pid in self._own():
                    return
                os.waitpid(ended.si_pid, os.WNOHANG)
            except ChildProcessError:
                return
            _log.debug(
                "process %d, which had lost its parent, has ended", ended.si_pid,
                extra=log_fields("supervisor.orphan_ended", pid=ended.si_pid),
            )  # fmt: skip

    def stop(self) -> None:
        """End."""
        if self.active:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)
