"""Notices that a child process has ended, says how, and has what it leaves behind killed if this process is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

__all__ = ["ChildGuard", "how_it_ended", "kill_group", "watch_exit"]

_log = get_logger(__name__)
_SHELL = "/bin/sh"
_GUARD = """
trap '' INT TERM HUP USR1 USR2
groups=
while read -r line; do groups=$line; done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
"""


def watch_exit(process: subprocess.Popen[bytes], loop: asyncio.AbstractEventLoop, ended: Callable[[], None]) -> None:
    """Call ``ended`` on the event loop when the process has ended. It is not reaped then, so that its id stays its own.

    A thread waits for it: the end of a connection to the process would not tell, as its own children may hold that
    open.
    """

    def wait() -> None:
        try:
            if hasattr(os, "waitid"):
                os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            else:
                process.wait()
        except ChildProcessError:
            pass  # another part of the program waits for all children, and has taken it
        try:
            loop.call_soon_threadsafe(ended)
        except RuntimeError:  # the event loop is closed
            process.wait()

    threading.Thread(target=wait, name=f"rabibridge-child-{process.pid}", daemon=True).start()


def kill_group(group: int) -> None:
    """Kill a child process that was not reaped yet, and everything that it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # how Linux and macOS say that nothing is left of it
        os.killpg(group, signal.SIGKILL)


def how_it_ended(code: int | None) -> str:
    """Return how a process has ended, from its ``returncode``."""
    if code is None:
        return "is gone"
    if code >= 0:
        return f"exited with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        return f"was killed by signal {-code}"
    why = "; the kernel sends that when memory runs out" if name == "SIGKILL" else ""
    return f"was killed by {name} (signal {-code}{why})"


class ChildGuard:
    """Kills the process groups of children when this process is gone without having done so: when it was killed.

    On Linux, the kernel kills a child together with its parent, but not the processes that the child has started;
    elsewhere, a busy child would not even notice. The guard is a shell that waits for the end of its input.
    """

    def __init__(self) -> None:
        """Start nothing yet."""
        self._groups: set[int] = set()
        self._shell: subprocess.Popen[bytes] | None = None
        self._missing = False

    def add(self, group: int) -> None:
        """Guard a process group."""
        self._groups.add(group)
        self._tell()

    def discard(self, group: int) -> None:
        """Guard a process group no longer: it is gone."""
        self._groups.discard(group)
        self._tell()

    def close(self) -> None:
        """End the shell, which takes no time that matters."""
        if (shell := self._shell) is not None:
            self._shell = None
            assert shell.stdin is not None
            shell.stdin.close()
            shell.wait()

    def _tell(self) -> None:
        line = f"{' '.join(map(str, self._groups))}\n".encode()
        for _ in range(2):
            if self._shell is None and not self._start():
                return
            assert self._shell is not None
            assert self._shell.stdin is not None
            try:
                self._shell.stdin.write(line)
            except BrokenPipeError:  # somebody has killed it
                self._shell.wait()
                self._shell = None
            else:
                return

    def _start(self) -> bool:
        if self._missing:
            return False
        try:
            self._shell = subprocess.Popen(  # noqa: S603 - a constant script
                [_SHELL, "-c", _GUARD, "rabibridge-child-guard"],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, bufsize=0,
                process_group=0, cwd="/",
            )  # fmt: skip
        except OSError as error:
            self._missing = True
            _log.warning(
                "cannot start %s (%s): if this worker is killed, processes that its child processes have started stay",
                _SHELL, error,
                extra=log_fields("child.guard_missing", error=error),
            )  # fmt: skip
            return False
        return True
