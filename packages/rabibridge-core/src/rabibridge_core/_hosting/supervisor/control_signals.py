"""The signals that control a supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rabibridge_core._hosting.run import DUPLICATE_SIGNALS
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Controlled", "control_by_signals"]

_log = get_logger(__name__)


class Controlled(Protocol):
    """What signals do to a supervisor."""

    def stop(self, why: str) -> None:
        """Let all workers finish their calls, and end."""
        ...

    def stop_now(self, why: str) -> None:
        """Let all workers return their calls to the queues, and end."""
        ...

    def reload(self, why: str) -> None:
        """Replace all workers, one after another."""
        ...

    def show_state(self) -> None:
        """Let all workers log what they run."""
        ...

    def add_workers(self, count: int, why: str) -> None:
        """Have so many more workers, or fewer."""
        ...


@contextmanager
def control_by_signals(supervisor: Controlled) -> Iterator[None]:
    """Let signals control a supervisor during a block, if it runs on the main thread. Handlers of before come back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    first: float | None = None

    def stop(number: signal.Signals) -> None:
        nonlocal first
        now = loop.time()
        if first is None:
            first = now
            supervisor.stop(number.name)
        elif now - first >= DUPLICATE_SIGNALS:
            supervisor.stop_now(number.name)

    has_terminal = _has_terminal()
    outlives_terminal = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN  # it was started by nohup

    def hang_up() -> None:
        nonlocal has_terminal
        if not has_terminal or _has_terminal():
            supervisor.reload("SIGHUP")
            return
        has_terminal = False  # nobody asks for a reload: its terminal was closed, which happens once
        if outlives_terminal:
            _log.info(
                "SIGHUP: the terminal was closed, and SIGHUP was to be ignored: the workers continue",
                extra=log_fields("supervisor.terminal_closed"),
            )
        else:
            stop(signal.SIGHUP)

    actions = {
        signal.SIGTERM: lambda: stop(signal.SIGTERM),
        signal.SIGINT: lambda: stop(signal.SIGINT),
        signal.SIGHUP: hang_up,
        signal.SIGTTIN: lambda: supervisor.add_workers(1, "SIGTTIN"),
        signal.SIGTTOU: lambda: supervisor.add_workers(-1, "SIGTTOU"),
        signal.SIGUSR1: supervisor.show_state,
    }
    before = {number: signal.getsignal(number) for number in actions}
    for number, action in actions.items():
        loop.add_signal_handler(number, action)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _has_terminal() -> bool:
    """Tell whether this process has a controlling terminal that is not hung up."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
