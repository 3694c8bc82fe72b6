"""One of the places for workers: it is never empty for long."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Protocol

from rabibridge_core._concurrency.backoff import Backoff
from rabibridge_core._hosting.supervisor.start_error import WorkerStartError
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import TextBlock, get_logger

if TYPE_CHECKING:
    from rabibridge_core._hosting.supervisor.options import SupervisorOptions, WorkerLaunch
    from rabibridge_core._hosting.supervisor.worker_process import WorkerProcess

__all__ = ["PlaceOwner", "WorkerPlace", "shown_trace"]

_log = get_logger(__name__)
_BACKOFF_FIRST, _BACKOFF_MAX = 0.5, 30.0
_SETTLED = 30.0
"""A worker that has run for so many seconds is replaced at once when it dies."""
_STARTED = 5.0
"""A program that does not serve, and never says that it is ready, has started when it has run for so many seconds."""


def shown_trace(trace: str) -> TextBlock | str:
    """Return a traceback as a value of a log record, which begins a new line."""
    return TextBlock(f"\n{trace}") if trace else ""


class PlaceOwner(Protocol):
    """What a place uses of its supervisor."""

    launch: WorkerLaunch
    options: SupervisorOptions
    was_ready: bool
    """Whether all workers have served at the same time."""

    def new_worker(self, number: int) -> WorkerProcess:
        """Return a worker for a place, not started yet."""
        ...

    def start_failed(self, place: WorkerPlace, error: WorkerStartError) -> None:
        """Called when a worker of a place has ended before it was ready; it may stop the supervisor."""
        ...


class WorkerPlace:
    """Keeps one worker running: one that dies is followed by another one, and one may be replaced."""

    def __init__(self, number: int, core: int | None, owner: PlaceOwner) -> None:
        """Start nothing yet.

        Args:
            number: which place it is, from 1.
            core: the core to which its workers are bound; ``None``: to none.
            owner: the supervisor.
        """
        self.number = number
        self.failures = 0
        """How many workers in a row have ended before they were ready."""
        self.recycle = ""
        """Why its worker has to be replaced although it does its work; empty: it need not."""
        self.returned = False
        """Whether its program has come to its end, and has to be run no more."""
        self._core = core
        self._owner = owner
        self._closing = asyncio.Event()
        self._replacing = asyncio.Lock()
        self._backoff = Backoff(_BACKOFF_FIRST, _BACKOFF_MAX, immediate=True)
        self.current: WorkerProcess | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether its worker serves."""
        return self.current is not None and self.current.ready

    @property
    def generation(self) -> int:
        """The generation of its worker."""
        return 0 if self.current is None else self.current.generation

    @generation.setter
    def generation(self, value: int) -> None:
        if self.current is not None:
            self.current.generation = value

    def age_order(self) -> tuple[int, float]:
        """What sorts workers by age: that with the oldest program, and then the oldest one, comes first."""
        return (0, 0.0) if self.current is None else (self.current.generation, self.current.began)

    def open(self) -> None:
        """Start to keep a worker running."""
        self.task = asyncio.get_running_loop().create_task(self._keep(), name=f"worker {self.number}")

    def check(self) -> None:
        """Raise what has ended the task that keeps the worker running, which is a fault of this package."""
        if self.task is not None and self.task.done() and not self.task.cancelled():
            self.task.result()

    async def _keep(self) -> None:
        while not self._closing.is_set():
            async with self._replacing:  # a replacement for the one that has ended may be starting
                if self.current is None or self.current.gone.done():
                    self.current = self._owner.new_worker(self.number)
                    error = await self._start(self.current)
                else:
                    error = None
                worker = self.current
            if error is not None:
                await self._not_started(worker, error)
                continue
            await asyncio.wait((worker.gone,))
            if worker is self.current:
                await self._follow(worker)

    async def _start(self, worker: WorkerProcess) -> WorkerStartError | None:
        """Start a worker, and wait until it is ready, if it is to serve; return why it is not, when it is gone."""
        launch, later = self._owner.launch, self._owner.was_ready  # at first, there is one line for all of them
        try:
            worker.spawn(launch, self._core)
            if launch.serves:
                await worker.wait_ready(self._owner.options.start_timeout)
                self.failures = 0
                if later:
                    _log.info(
                        "%s serves", worker, extra=log_fields("worker.serves", worker=worker.number, pid=worker.pid)
                    )
        except WorkerStartError as error:
            await worker.end()
            return error
        return None

    async def _not_started(self, worker: WorkerProcess, error: WorkerStartError) -> None:
        if not worker.leaving:
            self.failures += 1
            self._owner.start_failed(self, error)
            await self._pause(self._backoff.next() or self._backoff.next())

    async def _follow(self, worker: WorkerProcess) -> None:
        """Called when a worker that had started has ended: wait until the next one is to be started."""
        if worker.leaving:
            return
        if not self._owner.launch.serves:
            if worker.exit_code == 0 and not worker.signalled:
                self.returned = True
                self._closing.set()
                return
            if not worker.has_run_for(_STARTED):
                await self._not_started(worker, worker.why_not_ready())
                return
        self.failures = 0
        if worker.age >= _SETTLED:
            self._backoff.reset()
        delay = self._backoff.next()
        _log.log(
            logging.INFO if worker.exit_code == 0 else logging.ERROR,
            "%s %s; another one is started %s%s",
            worker, worker.describe_end(), f"in {delay:.1f} s" if delay else "now", shown_trace(worker.trace),
            extra=log_fields("worker.ended", worker=worker.number, pid=worker.pid, delay=delay),
        )  # fmt: skip
        await self._pause(delay)

    async def _pause(self, delay: float) -> None:
        if delay:
            with contextlib.suppress(TimeoutError):  # nothing has closed the place meanwhile
                await asyncio.wait_for(self._closing.wait(), delay)

    async def replace(self) -> None:
        """Start another worker, and let the present one go when it is ready. Returns when the old one is gone.

        Raises:
            WorkerStartError: the new one cannot start. The old one continues.
        """
        async with self._replacing:
            old, new = self.current, self._owner.new_worker(self.number)
            try:
                new.spawn(self._owner.launch, self._core)
                await new.wait_ready(self._owner.options.start_timeout)
            except WorkerStartError:
                await new.end()
                raise
            self.current = new
        _log.info("%s serves", new, extra=log_fields("worker.serves", worker=new.number, pid=new.pid))
        self.failures, self.recycle = 0, ""
        if self._closing.is_set():
            new.leave()
        if old is not None:
            old.leave()
            await asyncio.wait((old.gone,))

    async def close(self) -> None:
        """Let the worker finish its calls, and start no other one."""
        self._closing.set()
        if self.current is not None:
            self.current.leave()
        if self.task is not None:
            await asyncio.wait((self.task,))
