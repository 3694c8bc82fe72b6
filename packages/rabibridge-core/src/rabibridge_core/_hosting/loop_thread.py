"""An event loop in a thread of its own, which runs coroutines for threads that wait for them.

It takes no lock on the way in: a signal handler or a finalizer may call it in the middle of a call, and a process may
be forked at any moment. Jobs go through a deque, whose operations are atomic; the loop is woken once for all jobs of a
burst; each waiting thread blocks on a lock of its own job.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from _thread import allocate_lock
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, Unpack
from weakref import WeakSet

from rabibridge_core._hosting.blocking import check_may_block
from rabibridge_core._hosting.job_loop import JobLoop
from rabibridge_core._hosting.jobs import Job
from rabibridge_core.errors import ConnectionLostError, RabiBridgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["LoopThread"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_SLICE = 0.5
"""A waiting thread wakes up after so many seconds: an exception that was set for it from another thread gets through
then, as Ctrl-C does on Windows, and a process that was forked while it waits learns that nobody will answer."""
_CANCEL_TIMEOUT = 1.0
"""How long a thread that was interrupted waits until its call is cancelled, in seconds."""
_EXIT_TIMEOUT = 0.5
"""How long the exit of the interpreter waits for connections to close, in seconds."""
_get_running_loop = asyncio._get_running_loop


class LoopThread(JobLoop):
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
        """Start nothing yet; for the arguments see :class:`JobLoop`."""
        super().__init__(name, at_end, loop_factory)
        self._role = [None]
        """Whoever takes the one entry runs the loop: several threads may be started at once, and all others end."""
        self._thread: threading.Thread | None = None

    def run(self, function: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]], *args: *Ts) -> T:
        """Run ``function(*args)`` on the loop, in the context of this thread, and return its result.

        If anything interrupts the waiting (Ctrl-C, an exception that a signal handler or another thread raises here),
        the coroutine is cancelled, and what it sends for that has left before the exception goes on, unless that takes
        longer than a second or there is another interruption.

        Raises:
            BaseException: what the coroutine raises.
            ConfigurationError: this thread runs an event loop.
            ConnectionLostError: the thread has ended, or cannot be started.
        """
        result: T = self._run(function, args)
        return result

    def run_or_end(
        self,
        end: Callable[[], Coroutine[Any, Any, None]],
        function: Callable[[Unpack[Ts]], Coroutine[Any, Any, T]],
        *args: *Ts,
    ) -> T:
        """Do what :meth:`run` does; if the waiting is interrupted, run ``end()`` on the loop, within the same second.

        Raises:
            BaseException: as :meth:`run`.
        """
        result: T = self._run(function, args, end=end)
        return result

    def end_soon(self, end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run ``end()`` on the loop for a thread that was interrupted while it did not wait.

        It waits until what is sent for that has left, for a second at most.
        """
        self._abandon(None, end)

    def _run(
        self,
        function: Callable[..., Coroutine[Any, Any, Any]],
        args: tuple[Any, ...],
        *,
        direct: bool = False,
        end: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> Any:
        """Do what :meth:`run` and :meth:`run_or_end` describe; ``direct`` is described by :class:`Job`."""
        if _get_running_loop() is not None:
            check_may_block(self.name)
        job = Job(function, args, direct=direct)
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
            self._abandon(job, end)
            raise
        error = job.error
        if error is None:
            return job.result
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
            ConfigurationError: this thread runs an event loop. Nothing was changed.
        """
        if _get_running_loop() is not None:
            check_may_block(self.name)
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
        self.call_soon(self._end_soon)

    def call_soon(self, work: Callable[[], object]) -> None:
        """Call ``work`` on the loop, without waiting for it; not if the loop has ended or never began."""
        loop = self._loop
        if loop is not None and self.pid == os.getpid():
            with suppress(RuntimeError):  # it is closed
                loop.call_soon_threadsafe(work)

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

    def _start(self) -> None:
        if self._closing or self._ended:
            raise self._ended_error(executed=False)
        try:
            threading.Thread(target=self._main, name=f"{self.name}-loop", daemon=True).start()
        except RuntimeError as error:
            raise ConnectionLostError(
                f"{self.name} cannot start the thread of its event loop ({error}). A program that exits must have "
                "called before, or have connected with connect()",
                executed=False,
            ) from error

    def _main(self) -> None:
        try:
            self._role.pop()
        except IndexError:
            return
        self._thread = threading.current_thread()
        _running.add(self)
        self.run_loop()

    def _wake(self) -> None:
        assert self._loop is not None
        with suppress(RuntimeError):  # it is closed: run() finds that it has ended
            self._loop.call_soon_threadsafe(self._start_jobs)

    def _check_alive(self) -> None:
        if self.pid != os.getpid():
            raise ConnectionLostError(f"{self.name} was waiting when process {self.pid} was forked: call again here")
        if self._ended:
            self._refuse_left()
            if self._thread is not None and not self._thread.is_alive():
                raise self._ended_error(executed=None)

    def _abandon(self, job: Job | None, end: Callable[[], Coroutine[Any, Any, None]] | None) -> None:
        """Cancel the job of this thread, which has been interrupted, then run ``end``; wait until that is sent."""
        if job is not None:
            job.abandoned = True
            if end is None and (job.finished or not job.queued):
                return
        loop = self._loop
        if loop is None or self.pid != os.getpid():
            return
        left: Any = allocate_lock()
        left.acquire()
        with suppress(RuntimeError):  # the loop is closed
            if end is None:
                assert job is not None
                loop.call_soon_threadsafe(job.cancel, left)
            else:
                loop.call_soon_threadsafe(self._cancel_and_end, job, end, left)
            left.acquire(True, _CANCEL_TIMEOUT)

    def _cancel_and_end(self, job: Job | None, end: Callable[[], Coroutine[Any, Any, None]], left: Any) -> None:
        async def cancel_and_end() -> None:
            if job is not None and job.task is not None:
                job.task.cancel()
                await asyncio.wait((job.task,))
            await end()

        loop = asyncio.get_running_loop()
        ending = loop.create_task(cancel_and_end())
        ending.add_done_callback(lambda _: loop.call_soon(loop.call_soon, left.release))


_running: WeakSet[LoopThread] = WeakSet()


@atexit.register
def _at_exit() -> None:
    ours = [thread for thread in list(_running) if thread.pid == os.getpid()]
    deadline = monotonic() + _EXIT_TIMEOUT
    for thread in ours:
        thread.exit()
    for thread in ours:
        thread.join(max(0.0, deadline - monotonic()))
