"""The side of an event loop that runs coroutines for threads that wait for them."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from time import monotonic, process_time
from typing import TYPE_CHECKING, Any

from rabibridge_core._concurrency.daemon_executor import DaemonExecutor
from rabibridge_core._hosting.wakers import LockWaker, WakerPool
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from rabibridge_core._hosting.jobs import Job
    from rabibridge_core._hosting.wakers import Waker

__all__ = ["JobLoop", "new_event_loop"]

_log = get_logger(__name__)
_CANCEL_TIMEOUT = 1.0
"""How long tasks may take to end that are left when the loop ends, in seconds."""
_THREADS = 8
"""Threads of the loop's executor, which look up host names."""
_WAKING_MAX = 0.001
"""How long threads are woken before the loop looks after everything else again, in seconds."""
_BUSY_AFTER = 0.005
"""Waking a thread gives it the GIL. If threads compute for so many seconds before the loop has it again, which is how
long Python lets a thread have it, the loop would have to wait for each of them in turn."""
_BUSY_FIRST, _BUSY_MAX = 0.1, 60.0
"""How long threads wait for locks then, in seconds; the double each time."""


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a new event loop: uvloop's if it is installed, as for the command, else asyncio's."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


class JobLoop:
    """Runs jobs on an event loop of its own.

    Attributes:
        name: whom it works for, for errors and names of threads.
        pid: the process that it belongs to.
    """

    def __init__(
        self,
        name: str,
        at_end: Callable[[], Coroutine[Any, Any, None]],
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
    ) -> None:
        """Run nothing yet.

        Args:
            name: whom it works for.
            at_end: run on the loop before it ends.
            loop_factory: makes the event loop; ``None``: :func:`new_event_loop`.
        """
        self.name = name
        self.pid = os.getpid()
        self._at_end = at_end
        self._loop_factory = loop_factory or new_event_loop
        self._jobs: deque[Job] = deque()
        self._finished: deque[Job] = deque()
        """Jobs whose threads are still to be woken."""
        self._waking = False  # they will be, in the next turn of the loop
        self._wakers = WakerPool()
        self._hands_over = True  # the GIL, to the threads that it wakes
        self._busy_until = 0.0
        self._busy_for = _BUSY_FIRST
        self._notified = True  # the loop looks for jobs when it starts
        self._loop: asyncio.AbstractEventLoop | None = None
        self._open = False  # the loop takes jobs
        self._closing = self._exiting = self._ended = False
        self._why_ended: BaseException | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the loop runs."""
        return self._open

    @property
    def is_closed(self) -> bool:
        """Whether it was closed, or has ended by itself. It never runs again then."""
        return self._closing or self._ended

    def run_loop(self) -> None:
        """Run the loop in this thread until it is told to end."""
        loop = None
        try:
            loop = self._loop_factory()
            loop.set_default_executor(DaemonExecutor(_THREADS, f"{self.name}-executor"))
            self._loop = loop
            if not self._closing:
                self._open = True
                loop.call_soon(self._start_jobs)
                loop.run_forever()
        except BaseException as error:  # noqa: BLE001 - whatever ends the loop ends all calls
            self._why_ended = error
            if not isinstance(error, (SystemExit, KeyboardInterrupt)):
                _log.exception("the event loop of %s has ended", self.name)
        finally:
            self._ended, self._open = True, False
            self._wake_left()
            if loop is not None:
                self._clear(loop)
            self._refuse_left()
            self._wakers.close()

    def _direct_function(self) -> Callable[..., Coroutine[Any, Any, Any]] | None:
        """Return what makes the coroutine of a direct job, if it can do now without a task: see :meth:`Job.begin`."""
        return None

    def _new_waker(self) -> Waker:
        return self._wakers.take() if self._hands_over else LockWaker()

    def _start_jobs(self) -> None:
        self._notified = False
        jobs, loop = self._jobs, self._loop
        while jobs:
            try:
                job = jobs.popleft()
            except IndexError:  # another thread refuses them, since the loop ends
                return
            if job.abandoned:
                continue
            if job.direct and (function := self._direct_function()) is not None:
                job.begin(function, self._job_ended)
            else:
                job.task = asyncio.Task(self._do(job), loop=loop, context=job.context)

    async def _do(self, job: Job) -> None:
        try:
            job.result = await job.function(*job.args)
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            job.error = error
        finally:
            self._job_ended(job)

    def _job_ended(self, job: Job) -> None:
        """Wake its thread when the loop has done everything else: it would contend with the loop for the GIL."""
        job.finished = True
        self._finished.append(job)
        if self._ended:
            self._wake_left()
        elif not self._waking:
            self._waking = True
            assert self._loop is not None
            self._loop.call_soon(self._wake_threads)

    def _wake_threads(self) -> None:
        """Wake the threads whose jobs have ended, and start what they ask for next, without going round the loop."""
        finished, loop = self._finished, self._loop
        assert loop is not None
        self._notified = True
        self._waking = False
        began, computed = monotonic(), process_time()
        try:
            while finished and not self._exiting:
                finished.popleft().waker.wake()
                now = monotonic()
                if now - began > _WAKING_MAX:
                    if process_time() - computed > _BUSY_AFTER and self._hands_over:
                        self._take_locks(loop, now)
                    break
        finally:
            if finished and not self._exiting:
                self._waking = True
                loop.call_soon(self._wake_threads)
            self._start_jobs()

    def _take_locks(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        """Wake threads by locks for a while: they hold the GIL for long."""
        again_soon = now - self._busy_until < 10 * self._busy_for
        self._busy_for = min(_BUSY_MAX, 2 * self._busy_for) if again_soon else _BUSY_FIRST
        self._busy_until = now + self._busy_for
        self._hands_over = False
        loop.call_later(self._busy_for, self._hand_over)

    def _hand_over(self) -> None:
        self._hands_over = True

    def _wake_left(self) -> None:
        """Wake those whose jobs ended in the last turn of the loop."""
        while self._finished and not self._exiting:
            self._finished.popleft().waker.wake()

    def _end_soon(self) -> None:
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(), name=f"{self.name}-end")

    async def _end(self) -> None:
        try:
            await self._at_end()
        except Exception:  # noqa: BLE001 - the loop ends all the same
            _log.exception("%s was not closed as it should be", self.name)
        finally:
            asyncio.get_running_loop().stop()

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

    def _refuse_left(self) -> None:
        """End the jobs that nobody takes any more. Each is taken once, by whichever thread comes first."""
        while self._jobs:
            try:
                job = self._jobs.popleft()
            except IndexError:
                return
            job.error = self._ended_error(executed=False)
            job.finished = True
            job.waker.wake()

    def _ended_error(self, *, executed: bool | None) -> ConnectionLostError:
        if self._exiting:
            return ConnectionLostError(f"{self.name} is closed: the interpreter exits", executed=executed)
        if (why := self._why_ended) is not None:
            error = ConnectionLostError(f"the event loop of {self.name} has ended: {why!r}", executed=executed)
            error.__cause__ = why
            return error
        if not (self._closing or self._ended):
            return ConnectionLostError(f"{self.name}: the task of the call was cancelled", executed=executed)
        return ConnectionLostError(f"{self.name} is closed: call its connect() to call again", executed=executed)
