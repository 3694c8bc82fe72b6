"""The connection of a worker process to its supervisor: reports in one direction, orders in the other.

Both are JSON objects, one a line, on a socket that nobody else has. A thread reads, so that an order arrives even while
the event loop of the program stands still.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["WorkerLink", "current_link", "open_link"]

_current: WorkerLink | None = None


def current_link() -> WorkerLink | None:
    """Return the connection to the supervisor of this process; ``None``: it has none."""
    return _current


def open_link(connection: socket.socket, number: int, beat_interval: float, *, runs_again: bool) -> WorkerLink:
    """Let this process be a worker of the supervisor at the other end of ``connection``; see :class:`WorkerLink`."""
    global _current
    _current = WorkerLink(connection, number, beat_interval, runs_again=runs_again)
    return _current


class WorkerLink:
    """Tells the supervisor how this worker is, and hears when it has to stop."""

    def __init__(self, connection: socket.socket, number: int, beat_interval: float, *, runs_again: bool) -> None:
        """Own ``connection``; nothing is read before :meth:`listen`."""
        self.runs_again = runs_again
        """Whether this process runs the program of its supervisor again, up to the line that asks for workers."""
        connection.set_inheritable(False)
        self._connection = connection
        self._lock = threading.RLock()
        self._starting = 0
        self.number = number
        """Which worker of its supervisor this is, from 1."""
        self.beat_interval = beat_interval
        """How often the event loop has to report, in seconds."""
        self.stop: Callable[[bool], bool] = lambda again: False
        """Stops the servers of this process, a second time if ``again``; returns whether there are any."""
        os.register_at_fork(after_in_child=self._forget)

    def listen(self) -> None:
        """Follow the orders of the supervisor from now on."""
        threading.Thread(target=self._read, name="rabibridge-supervisor", daemon=True).start()

    def tell(self, kind: str, **fields: Any) -> None:
        """Report something; without effect if the supervisor is gone."""
        with self._lock, contextlib.suppress(OSError):
            self._connection.sendall(_line(kind, fields))

    def beat(self, **fields: Any) -> None:
        """Report that the event loop runs. A report that would have to wait is left out: the next one follows."""
        with self._lock, contextlib.suppress(OSError):
            self._connection.send(_line("beat", fields), socket.MSG_DONTWAIT)

    def server_starts(self) -> None:
        """Called when a server of this process begins to start."""
        self._starting += 1

    def server_started(self, drain_timeout: float) -> None:
        """Called when one receives calls, or has failed. When none is left that starts, the worker is ready.

        Args:
            drain_timeout: how long it may take to stop, in seconds.
        """
        self._starting -= 1
        if not self._starting:
            self.tell("ready", drain_timeout=drain_timeout)

    def _read(self) -> None:
        received = b""
        while True:
            try:
                piece = self._connection.recv(4096)
            except OSError:
                piece = b""
            if not piece:
                os._exit(1)  # the supervisor was killed; on Linux, this process is killed with it
            *lines, received = (received + piece).split(b"\n")
            for line in lines:
                if not self.stop(json.loads(line)["kind"] == "hurry"):
                    os.kill(os.getpid(), signal.SIGTERM)

    def _forget(self) -> None:
        """Called in a process that was forked from this one: the supervisor must not hear from it."""
        global _current
        _current = None
        self._lock = threading.RLock()
        self._connection.close()


def _line(kind: str, fields: dict[str, Any]) -> bytes:
    return json.dumps({"kind": kind, **fields}).encode() + b"\n"
