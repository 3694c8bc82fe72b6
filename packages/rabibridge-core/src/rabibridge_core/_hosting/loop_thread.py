"""An event loop in a thread of its own, which runs coroutines for threads that wait for them.

It takes no lock on the way in: a signal handler or a finalizer may call it in the middle of a call, and a process may be
forked at any moment. Jobs go through a deque, whose operations are atomic; the loop is woken once for all jobs of a
burst; each waiting thread blocks on a lock of its own job. ``asyncio.run_coroutine_threadsafe`` costs twice as much.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from _thread import allocate_lock
from collections import deque
from contextlib import suppress
from contextvars import copy_context
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVarTuple, Unpack
from weakref import WeakSet

from rabibridge_core._concurrency.daemon_executor import DaemonExecutor
from rabibridge_core._hosting.blocking import check_may_block
from rabibridge_core.errors import ConnectionLostError, RabiBridgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["LoopThread", "new_event_loop"]

Ts = TypeVarTuple("Ts")

_log = logging.getLogger(__name__)
_SLICE = 0.5
"""A waiting thread wakes up after so many seconds: an exception that was set for it from another thread gets through
then, as Ctrl-C does on Windows, and a process that was forked while it waits learns that nobody will answer."""
_CANCEL_TIMEOUT = 1.0
"""How long a thread that was interrupted waits until its call is cancelled, in seconds."""
_EXIT_TIMEOUT = 0.5
"""How long the exit of the interpreter waits for connections to close, in seconds."""
_THREADS = 8
_get_running_loop = asyncio._get_running_loop


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop: uvloop's if it is installed, as for the command, else asyncio's."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class _Job:
    """A coroutine to run, and the thread that waits for it."""

    __slots__ = ("abandoned", "args", "context", "error", "finished", "function", "lock", "queued", "result", "task")

    def __init__(self, function: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...]) -> None:
        self.function = function
        self.args = args
        self.context = copy_context()
        self.lock = allocate_lock()
        self.lock.acquire()
        self.queued = self.abandoned = self.finished = False
        self.task: asyncio.Task[None] | None = None
        self.result: Any = None
        self.error: BaseException | None = None


class LoopThread:
    """Runs coroutines on an event loop in a daemon thread, which is started by the first of them.

    It belongs to the process that made it, and can be used from any number of threads. It never keeps a process from
    exiting: when the interpreter exits, ``at_end`` is run, for half a second at most, and the thread ends.
    """

    def __init__(
        self,
        name: str,
        at_end: Callable[[], Coroutine[Any, Any, None]],
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        """Start nothing yet.

        Args:
            name: whom it works for, for errors and the name of the thread.
            at_end: run on the loop before it ends.
            loop_factory: makes the event loop; ``None``: :func:`new_event_loop`.
        """
        self.name = name
        self.pid = os.getpid()
        self._at_end = at_end
        self._loop_factory = loop_factory or new_event_loop
        self._jobs: deque[_Job] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._notified = True  # the thread looks for jobs when it starts
        self._role = [None]
        """Whoever takes the one entry runs the loop: several threads may be started at once, and all others end."""
        self._thread: threading.Thread | None = None
        self._ending: asyncio.Task[None] | None = None
        self._open = False  # the loop takes jobs
        self._closing = self._exiting = self._ended = False
        self._why_ended: BaseException | None = None

    @property
    def is_open(self) -> bool:
        """Whether the loop runs."""
        return self._open

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, or has ended by itself. It never runs again then."""
        return self._closing or self._ended

    def run(self, function: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]], *args: Unpack[Ts]) -> T:
        """Run ``function(*args)`` on the loop, in the context of this thread, and return its result.

        If anything interrupts the waiting (Ctrl-C, an exception that a signal handler or another thread raises here),
        the coroutine is cancelled, and what it sends for that has left before the exception goes on, unless that takes
        longer than a second or there is another interruption.

        Raises:
            BaseException: what the coroutine raises.
            ConfigurationError: this thread runs an event loop.
            ConnectionLostError: the thread has ended, or cannot be started.
        """
        if _get_running_loop() is not None:
            check_may_block(self.name)
        job = _Job(function, args)
        acquire = job.lock.acquire
        try:
            if not self._open:
                self._start()
            job.queued = True
            self._jobs.append(job)
            if not self._notified:
                self._notified = True
                self._wake()
            if self._ended:  # since it was open
                self._refuse_left()
            while not acquire(True, _SLICE):
                self._check_alive()
        except BaseException:
            self._abandon(job)
            raise
        error = job.error
        if error is None:
            result: T = job.result
            return result
        try:
            if isinstance(error, RabiBridgeError):
                error.__traceback__ = None  # the frames of the other thread tell nothing that the message does not
            if isinstance(error, asyncio.CancelledError):
                raise self._ended_error(executed=None)
            raise error
        finally:
            del error, job  # a frame that keeps the exception which keeps the frame is a cycle

    def close(self) -> None:
        """Run ``at_end``, end the loop and wait for the thread. No effect when it has ended or never started.

        Raises:
            BaseException: what ``at_end`` raises.
        """
        self._closing = True
        if self._open:
            try:
                self.run(self._at_end)
            except ConnectionLostError:
                if not self._ended:  # by another thread
                    raise
            finally:
                self.close_soon()
        if self._thread is not None:
            self._thread.join()

    def close_soon(self) -> None:
        """Do the same without waiting; for finalizers."""
        loop = self._loop
        if loop is not None and self.pid == os.getpid():
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(self._end_soon)

    def exit(self) -> None:
        """Begin to end, since the interpreter exits: threads that wait now are never woken, and die with the process.

        Waking them would let them print an error about something that nobody wanted any more.
        """
        self._closing = self._exiting = True
        self._open = False
        self.close_soon()

    def join(self, timeout: float) -> None:
        """Wait until the thread has ended, for so many seconds at most."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _wake(self) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # it is closed: run() finds that it has ended
            self._loop.call_soon_threadsafe(self._start_jobs)

    def _start(self) -> None:
        if self._closing or self._ended:
            raise self._ended_error(executed=False)
        try:
            threading.Thread(target=self._run, name=f"{self.name}-loop", daemon=True).start()
        except RuntimeError as error:
            raise ConnectionLostError(
                f"{self.name} cannot start the thread of its event loop ({error}). A program that exits must have "
                "called before, or have connected with connect()",
                executed=False,
            ) from error

    def _check_alive(self) -> None:
        if self.pid != os.getpid():
            raise ConnectionLostError(f"{self.name} was waiting when process {self.pid} was forked: call again here")
        if self._ended:
            self._refuse_left()
            if self._thread is not None and not self._thread.is_alive():
                raise self._ended_error(executed=None)

    def _refuse_left(self) -> None:
        """End the jobs that nobody takes any more. Each is taken once, by whichever thread comes first."""
        with suppress(IndexError):
            while True:
                job = self._jobs.popleft()
                job.error = self._ended_error(executed=False)
                job.finished = True
                job.lock.release()

    def _ended_error(self, *, executed: bool | None) -> ConnectionLostError:
        if self._exiting:
            return ConnectionLostError(f"{self.name} is closed: the interpreter exits", executed=executed)
        if self._why_ended is not None:
            error = ConnectionLostError(f"the event loop of {self.name} has ended: {self._why_ended!r}", executed=executed)
            error.__cause__ = self._why_ended
            return error
        if not (self._closing or self._ended):
            return ConnectionLostError(f"{self.name}: the task of the call was cancelled", executed=executed)
        return ConnectionLostError(f"{self.name} is closed: call its connect() to call again", executed=executed)

    def _abandon(self, job: _Job) -> None:
        """Cancel the job of this thread, which has been interrupted, and wait until that has been sent."""
        job.abandoned = True
        loop = self._loop
        if loop is None or job.finished or not job.queued or self.pid != os.getpid():
            return
        left = allocate_lock()
        left.acquire()
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(_cancel, job, left)
            left.acquire(True, _CANCEL_TIMEOUT)

    # What follows runs in the thread of the loop.

    def _run(self) -> None:
        try:
            self._role.pop()
        except IndexError:
            return
        self._thread = threading.current_thread()
        loop = None
        try:
            loop = self._loop_factory()
            loop.set_default_executor(DaemonExecutor(_THREADS, f"{self.name}-executor"))
            _running.add(self)
            self._loop = loop
            if not self._closing:
                self._open = True
                loop.call_soon(self._start_jobs)
                loop.run_forever()
        except BaseException as error:
            self._why_ended = error
            if not isinstance(error, (SystemExit, KeyboardInterrupt)):
                _log.exception("the event loop of %s has ended", self.name)
        finally:
            self._ended, self._open = True, False
            if loop is not None:
                self._clear(loop)
            self._refuse_left()

    def _clear(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what is left on the loop, which has stopped, and close it."""
        try:
            if self._why_ended is not None:
                loop.run_until_complete(self._at_end())
            if tasks := asyncio.all_tasks(loop):
                for task in tasks:
                    task.cancel()
                loop.run_until_complete(asyncio.wait(tasks, timeout=_CANCEL_TIMEOUT))
            loop.run_until_complete(loop.shutdown_asyncgens())
        except BaseException:  # noqa: BLE001 - nobody could do anything about it
            _log.exception("the event loop of %s has ended, and not everything on it", self.name)
        loop.close()

    def _start_jobs(self) -> None:
        self._notified = False
        jobs, loop = self._jobs, self._loop
        while jobs:
            try:
                job = jobs.popleft()
            except IndexError:  # another thread refuses them, since the loop ends
                return
            if not job.abandoned:
                job.task = asyncio.Task(self._do(job), loop=loop, context=job.context)

    async def _do(self, job: _Job) -> None:
        try:
            job.result = await job.function(*job.args)
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            job.error = error
        finally:
            job.finished = True
            if not self._exiting:
                job.lock.release()

    def _end_soon(self) -> None:
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(), name=f"{self.name}-end")

    async def _end(self) -> None:
        try:
            await self._at_end()
        except Exception:
            _log.exception("%s was not closed as it should be", self.name)
        finally:
            asyncio.get_running_loop().stop()


def _cancel(job: _Job, left: Any) -> None:
    """Cancel a job, and release ``left`` when everything that it has written for that was handed to the socket."""
    if job.task is None:
        left.release()
        return
    loop = job.task.get_loop()
    job.task.cancel()
    # What it writes leaves in the turn after the one in which it ends.
    job.task.add_done_callback(lambda _: loop.call_soon(loop.call_soon, left.release))


_running: WeakSet[LoopThread] = WeakSet()


@atexit.register
def _at_exit() -> None:
    ours = [thread for thread in list(_running) if thread.pid == os.getpid()]
    deadline = monotonic() + _EXIT_TIMEOUT
    for thread in ours:
        thread.exit()
    for thread in ours:
        thread.join(max(0.0, deadline - monotonic()))
