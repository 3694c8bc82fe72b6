"""The side of an event loop that runs coroutines for threads that wait for them."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from typing import TYPE_CHECKING, Any

from rabibridge_core._concurrency.daemon_executor import DaemonExecutor
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from rabibridge_core._hosting.jobs import Job

__all__ = ["JobLoop", "new_event_loop"]

_log = get_logger(__name__)
_CANCEL_TIMEOUT = 1.0
"""How long tasks may take to end that are left when the loop ends, in seconds."""
_THREADS = 8
"""Threads of the loop's executor, which look up host names."""


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
                _log.exception(
                    "the event loop of %s has ended", self.name,
                    extra=log_fields("sync_client.loop_failed", instance=self.name),
                )  # fmt: skip
        finally:
            self._ended, self._open = True, False
            if loop is not None:
                self._clear(loop)
            self._refuse_left()

    def _direct_function(self) -> Callable[..., Coroutine[Any, Any, Any]] | None:
        """Return what makes the coroutine of a direct job, if it can do now without a task: see :meth:`Job.begin`."""
        return None

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
        job.finished = True
        if not self._exiting:
            job.lock.release()

    def _end_soon(self) -> None:
        if self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(), name=f"{self.name}-end")

    async def _end(self) -> None:
        try:
            await self._at_end()
        except Exception:  # noqa: BLE001 - the loop ends all the same
            _log.exception(
                "%s was not closed as it should be", self.name,
                extra=log_fields("sync_client.close_failed", instance=self.name),
            )  # fmt: skip
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
            _log.exception(
                "the event loop of %s has ended, and not everything on it", self.name,
                extra=log_fields("sync_client.loop_failed", instance=self.name),
            )  # fmt: skip
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
            job.lock.release()

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
