"""Tells the worker where this child process is, when SIGUSR1 asks for it: see ``rabibridge_core._server.child_stacks``.

No thread waits for the question: a child has none of its own, as functions may fork, which Python warns of beside
threads. The handler of the signal runs between two instructions of the main thread, where the function runs, and looks.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import threading
from contextlib import contextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from rabibridge_core._observability.stacks import StackReader

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator

    from rabibridge_core._server.active_request import ActiveRequest

__all__ = ["shown", "tell_stacks"]

_SIZE_MAX: Final = 32 * 1024
"""What fits into the pipe beside what faulthandler has written."""
_running: list[tuple[ActiveRequest, asyncio.Task[None]]] = []


@contextmanager
def shown(active: ActiveRequest, task: asyncio.Task[None]) -> Iterator[None]:
    """Tell of this call, which ``task`` runs, during a block."""
    _running[:] = [(active, task)]
    try:
        yield
    finally:
        _running.clear()


def tell_stacks(pipe: int) -> None:
    """Answer SIGUSR1 through a pipe from now on."""
    os.set_inheritable(pipe, False)
    asked = False

    def tell(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            return  # the signal has come again meanwhile
        asked = True
        try:
            line = _answer()
        except Exception as error:  # noqa: BLE001 - it would be raised in the middle of the function
            line = json.dumps({"call": "", "error": f"{type(error).__name__}: {error}"[:1000]}).encode()
        finally:
            asked = False
        with suppress(OSError):  # the worker is gone, or has not read for long: it waits for nothing then
            os.write(pipe, b"\n" + line + b"\n")

    def after_fork() -> None:  # the process of a function is its own
        faulthandler.unregister(signal.SIGUSR1)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        os.close(pipe)

    signal.signal(signal.SIGUSR1, tell)
    faulthandler.register(signal.SIGUSR1, file=pipe, all_threads=True, chain=True)
    os.register_at_fork(after_in_child=after_fork)


def _answer() -> bytes:
    if not _running:
        return b'{"call": ""}'
    active, task = _running[0]
    stacks = StackReader(threading.main_thread().ident).stacks_of(active, task)
    call = active.request.correlation_id.decode("utf-8", "backslashreplace")
    while True:
        line = json.dumps({"call": call, "stacks": [asdict(stack) for stack in stacks]}).encode()
        if len(line) <= _SIZE_MAX or not stacks:
            return line
        stacks = stacks[:-1]
