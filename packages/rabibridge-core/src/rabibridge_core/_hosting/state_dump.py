"""SIGUSR1: logs what the servers of this process run now, also while their event loop is blocked.

The signal is not handled by Python, which runs handlers of signals only between two instructions of the main thread: a
main thread that is stuck in a library would never come to it. ``faulthandler`` handles it in C and writes to a pipe,
whatever the main thread does; a thread of this module reads the pipe, asks the event loop of each server, and if that
does not answer, looks at the stacks itself.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import select
import signal
import sys
import threading
from typing import TYPE_CHECKING

from rabibridge_core._hosting.worker.link import current_link
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import TextBlock, get_logger
from rabibridge_core._server.running_calls import RunningCalls, calls_text

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from rabibridge_core._server.server import Server

__all__ = ["showing_state"]

_log = get_logger(__name__)
_PATIENCE = 1.0
"""How long an event loop may take to answer, in seconds; then it counts as blocked."""
_TOGETHER = 0.05
_shown: list[_Shown] = []
_pipe: tuple[int, int] | None = None


class _Shown:
    """A server, and where its event loop runs."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.loop = loop
        self.thread = threading.get_ident()

    def log(self) -> None:
        """Log what the server runs; called in the thread of this module."""
        answered, told = threading.Event(), list[RunningCalls]()

        def answer() -> None:
            try:
                told.append(RunningCalls(self.server.services.all_runners()))
            finally:
                answered.set()

        try:
            self.loop.call_soon_threadsafe(answer)
        except RuntimeError:
            return  # it is closed
        blocked = "" if answered.wait(_PATIENCE) else "; its event loop is blocked"
        if blocked:
            running = RunningCalls.beside_loop(self.server.services.all_runners, self.thread)
        else:
            running = told[0] if told else None
        text = "they change too fast" if running is None else calls_text(running.complete(), running.count)
        count = 0 if running is None else running.count
        _log.warning(
            "%s runs %d calls%s%s", self.server.name, count, blocked, TextBlock(f"\n{text}") if text else "",
            extra=log_fields("server.state", instance=self.server.name, count=count),
        )  # fmt: skip


@contextlib.contextmanager
def showing_state(server: Server, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let SIGUSR1 show this server, too; entered where its event loop runs."""
    shown = _Shown(server, loop)
    _listen()
    _shown.append(shown)
    try:
        yield
    finally:
        _shown.remove(shown)


def _listen() -> None:
    """Handle SIGUSR1 from now on, unless the program does."""
    global _pipe
    if _pipe is not None or sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        return
    if callable(signal.getsignal(signal.SIGUSR1)) and current_link() is None:  # in a worker, it is what started it
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)  # a full pipe must not stop the thread that was interrupted
    faulthandler.register(signal.SIGUSR1, file=writing, all_threads=False)
    _pipe = reading, writing
    threading.Thread(target=_read, args=(reading,), name="rabibridge-state", daemon=True).start()


def _read(reading: int) -> None:
    while True:
        os.read(reading, 65536)  # what faulthandler has written: that something has come is enough
        while select.select((reading,), (), (), _TOGETHER)[0]:
            os.read(reading, 65536)
        for shown in list(_shown):
            try:
                shown.log()
            except Exception:  # noqa: BLE001 - the next signal must find this thread
                _log.exception("the state of a server cannot be shown", extra=log_fields("server.state"))


def _in_forked_child() -> None:
    """The signal to a process that a handler has forked must not show the state of its parent."""
    global _pipe
    _shown.clear()
    if _pipe is not None:
        faulthandler.unregister(signal.SIGUSR1)
        for end in _pipe:
            os.close(end)
        _pipe = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_forked_child)
