"""One worker process: started, heard, told to stop, and killed if it does not."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rabibridge_core._hosting.supervisor.start_error import WorkerStartError
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core._server.child_exit import how_it_ended, watch_exit
from rabibridge_core._server.child_process import interpreter_flags

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._hosting.supervisor.options import WorkerLaunch
    from rabibridge_core._hosting.supervisor.worker_stores import WorkerMetrics

__all__ = ["WorkerProcess"]

_log = get_logger(__name__)
_BOOT: Final = str(Path(__file__).parent.parent / "worker_boot.py")
_CONTROL_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1)
_GRACE = 5.0
"""How long a worker may take to end in addition to its drain timeout, or when it is told not to drain, in seconds."""


class WorkerProcess:
    """One process, of which the supervisor is the parent. It is in the process group of its supervisor."""

    def __init__(
        self,
        number: int,
        generation: int,
        beat_interval: float,
        heard: Callable[[], None],
        new_metrics: Callable[[], WorkerMetrics] | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            number: which worker it is, from 1.
            generation: how many reloads had been asked for when it was made.
            beat_interval: how often its event loop has to report, in seconds.
            heard: called after each of its reports.
            new_metrics: makes the memory that it counts in; ``None``: it need not count.
        """
        self.number = number
        self.generation = generation
        self._beat_interval = beat_interval
        self._heard = heard
        self._new_metrics = new_metrics
        self.metrics: WorkerMetrics | None = None
        """What it has counted."""
        self._loop = asyncio.get_running_loop()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._received = b""
        self._failure: dict[str, Any] = {}
        self._kill_at: asyncio.TimerHandle | None = None
        self.started: asyncio.Future[None] = self._loop.create_future()
        """Done when it is ready, or has ended before."""
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done when it has ended and was reaped."""
        self.exit_code: int | None = None
        self.began = self.last_beat = self._ended_at = self._loop.time()
        self.ready = self.waiting = False
        self.leaving = False
        """Whether its supervisor has asked it to end."""
        self.signalled = False
        """Whether a signal that did not come from its supervisor makes it end."""
        self.drain_timeout = 0.0
        self.program_began: float | None = None
        """When the function that it was started for was called; ``None``: it was not, or there is none."""
        self.calls = self.memory = self.first_memory = 0
        self.problems: tuple[str, ...] = ()
        """Why it does not take calls of all of its services, as it has said; empty: it does, or has said nothing."""

    @property
    def pid(self) -> int:
        """The id of the process; 0 before it is started."""
        return 0 if self._process is None else self._process.pid

    @property
    def age(self) -> float:
        """For how many seconds it has run."""
        return self._ended_at - self.began if self.gone.done() else self._loop.time() - self.began

    def has_run_for(self, seconds: float) -> bool:
        """Tell whether its function has run so long, or its server was ready at any time."""
        began = self.program_began
        return self.was_ready or (began is not None and self.began + self.age - began >= seconds)

    @property
    def was_ready(self) -> bool:
        """Whether it has been ready at any time."""
        return self.started.done() and self.started.exception() is None

    def __str__(self) -> str:
        """Show number and process id, for the log."""
        return f"worker {self.number} (process {self.pid})"

    def spawn(self, launch: WorkerLaunch, core: int | None) -> None:
        """Start the process.

        Raises:
            WorkerStartError: that is not possible.
        """
        ours, theirs = socket.socketpair()
        descriptors = [theirs.fileno()]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _CONTROL_SIGNALS)  # the process inherits it, and ends it
        try:
            if self._new_metrics is not None:
                self.metrics = self._new_metrics()
                descriptors.append(self.metrics.descriptor)
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter, and arguments that nobody else chooses
                [sys.executable, *interpreter_flags(), "-P", _BOOT, str(theirs.fileno())],
                stdin=subprocess.DEVNULL, pass_fds=descriptors, cwd=launch.folder,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            ours.close()
            raise WorkerStartError(f"a worker process cannot be started: {error}") from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()
            if self.metrics is not None:
                self.metrics.close_descriptor()
        watch_exit(self._process, self._loop, self._has_ended)
        told = {
            "parent": os.getpid(),
            "number": self.number,
            "core": core,
            "beat_interval": self._beat_interval,
            "path": launch.path,
            "argv": launch.arguments,
            "program": launch.program,
            "metrics": descriptors[1] if self.metrics is not None else None,
        }
        ours.setblocking(False)
        self._socket = ours
        self._loop.add_reader(ours, self._readable)
        self._tell(told)

    def _tell(self, told: dict[str, Any]) -> None:
        assert self._socket is not None
        self._socket.setblocking(True)  # it is short, and the worker reads it as soon as it runs
        try:
            self._socket.sendall(json.dumps(told).encode() + b"\n")
        except OSError as error:
            _log.debug(
                "%s cannot be told anything: %s",
                self,
                error,
                extra=log_fields("worker.untold", worker=self.number, pid=self.pid, error=error),
            )  # it ends, or has ended
        finally:
            self._socket.setblocking(False)

    def _readable(self) -> None:
        assert self._socket is not None
        try:
            piece = self._socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        if not piece:
            self._loop.remove_reader(self._socket)
            return
        self._parse(piece)
        self._heard()

    def _parse(self, piece: bytes) -> None:
        *lines, self._received = (self._received + piece).split(b"\n")
        for line in lines:
            self._report(json.loads(line))

    def _report(self, fields: dict[str, Any]) -> None:
        kind = fields["kind"]
        self.last_beat = self._loop.time()
        if kind == "beat":
            self.calls, self.memory = fields.get("calls", 0), fields.get("memory", 0)
            self.first_memory = self.first_memory or self.memory
            self.problems = tuple(fields.get("problems", ()))
        elif kind == "ready":
            self.ready, self.drain_timeout = True, fields["drain_timeout"]
            if not self.started.done():
                self.started.set_result(None)
        elif kind == "begins":
            self.program_began = self._loop.time()
        elif kind == "waiting":
            self.waiting = True
        elif kind == "signalled":
            self.signalled = True
        elif kind == "failed":
            self._failure = fields

    async def wait_ready(self, timeout: float | None) -> None:
        """Wait until it is ready. One that waits for the broker, as it was told to, may take longer than ``timeout``.

        Raises:
            WorkerStartError: it has ended before, or is not ready after ``timeout`` seconds.
        """
        while not self.started.done():
            await asyncio.wait((self.started,), timeout=timeout)
            if not self.started.done() and not self.waiting:
                raise WorkerStartError(f"it is not ready after {timeout:g} s")
        self.started.result()

    def leave(self) -> None:
        """Ask it to finish the calls in flight and to end. It is killed if it has not ended when its time is over."""
        if not self.leaving and not self.gone.done():
            self.leaving = True
            self._tell({"kind": "stop"})
            self._kill_in(self.drain_timeout + _GRACE)

    def hurry(self) -> None:
        """Ask it to end now, with the calls in flight returned to their queues."""
        self.leave()
        if not self.gone.done():
            self._tell({"kind": "hurry"})
            self._kill_in(_GRACE)

    def _kill_in(self, delay: float) -> None:
        if self._kill_at is not None:
            self._kill_at.cancel()
        self._kill_at = self._loop.call_later(delay, self._overdue, delay)

    def _overdue(self, delay: float) -> None:
        _log.warning(
            "%s has not ended after %g s, and is killed", self, delay,
            extra=log_fields("worker.killed", worker=self.number, pid=self.pid, duration=delay),
        )  # fmt: skip
        self._kill()

    def _kill(self) -> None:
        if self._process is not None and not self.gone.done():
            self._process.kill()

    async def end(self) -> None:
        """End it at once, and wait until it is gone."""
        if self._process is None:
            if not self.gone.done():
                self.gone.set_result(None)
            return
        self._kill()
        await asyncio.wait((self.gone,))

    def _has_ended(self) -> None:
        assert self._process is not None
        assert self._socket is not None
        self.exit_code = self._process.wait()
        self._ended_at = self._loop.time()
        if self._kill_at is not None:
            self._kill_at.cancel()
        self._read_rest()
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self.ready = False
        if not self.gone.done():
            self.gone.set_result(None)
        if not self.started.done():
            self.started.set_exception(self.why_not_ready())
            self.started.exception()  # it need not be awaited
        self._heard()

    def _read_rest(self) -> None:
        """Read what it has reported just before its end."""
        assert self._socket is not None
        with contextlib.suppress(OSError):  # nothing is there, or a process that it has started holds the other end
            while piece := self._socket.recv(65536):
                self._parse(piece)

    def why_not_ready(self) -> WorkerStartError:
        """Return why it has ended before it was ready."""
        if self._failure:
            named = {name: self._failure[name] for name in ("may_pass", "error", "trace")}
            return WorkerStartError(self._failure["text"], **named)
        return WorkerStartError(f"it {how_it_ended(self.exit_code)} before it was ready")

    def describe_end(self) -> str:
        """Return how it has ended, for logs."""
        return f"has ended: {self._failure['text']}" if self._failure else how_it_ended(self.exit_code)

    @property
    def trace(self) -> str:
        """The traceback of the error that it has ended with, if it has reported one that is of use."""
        return str(self._failure.get("trace", ""))
