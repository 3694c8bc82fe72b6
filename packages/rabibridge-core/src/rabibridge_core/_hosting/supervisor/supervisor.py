"""The supervisor: so many workers serve, whatever happens to one of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from typing import TYPE_CHECKING

from rabibridge_core._hosting.run import AGAIN
from rabibridge_core._hosting.supervisor.cores import core_of
from rabibridge_core._hosting.supervisor.place import WorkerPlace, shown_trace
from rabibridge_core._hosting.supervisor.start_error import WorkerStartError
from rabibridge_core._hosting.supervisor.worker_set import WorkerSet
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from rabibridge_core._hosting.supervisor.options import SupervisorOptions, WorkerLaunch
    from rabibridge_core._hosting.supervisor.service_manager import ServiceManager
    from rabibridge_core._hosting.supervisor.worker_process import WorkerProcess
    from rabibridge_core._hosting.supervisor.worker_stores import WorkerStores

__all__ = ["Supervisor"]

_log = get_logger(__name__)
_START_FAILURES = 5
"""So many workers in a row that end before they are ready, in one place, are a problem that no attempt will solve."""
_BEAT_INTERVAL = 1.0
_RECYCLE_AGAIN = 30.0
"""After how many seconds a worker that could not be replaced is tried again."""


class Supervisor:
    """Runs workers. What has to be done to them is done by one task, one thing after the other.

    So a reload that is asked for while another one runs follows it, workers are never replaced two at a time, and a
    worker that is added or taken away meanwhile is counted.
    """

    def __init__(self, launch: WorkerLaunch, options: SupervisorOptions, manager: ServiceManager) -> None:
        """Start nothing yet; it must be made on the running event loop."""
        self.launch = launch
        self.options = options
        self.failure: WorkerStartError | None = None
        """Why it has given up; ``None``: it has not."""
        self.failures = 0
        """How many workers in a row have failed then."""
        self._manager = manager
        self._loop = asyncio.get_running_loop()
        self.wanted = options.workers
        """How many workers there should be."""
        self._generation = 0
        self._places: list[WorkerPlace] = []
        self._changed = asyncio.Event()
        self.stores: WorkerStores | None = None
        """What workers count in; ``None``: nobody wants to know."""
        if options.monitor is not None:
            from rabibridge_core._hosting.supervisor.worker_stores import WorkerStores  # not where nobody does

            self.stores = WorkerStores()
        beat_interval = min(_BEAT_INTERVAL, manager.watchdog / 8 or _BEAT_INTERVAL)
        self.processes = WorkerSet(beat_interval, self._changed.set, self.stores)
        self._stopping = asyncio.Event()
        self.was_ready = self._reloading = False
        self._recycle_from = 0.0
        self._limit_too_low = False

    @property
    def stopping(self) -> bool:
        """Whether it lets all workers end."""
        return self._stopping.is_set()

    def new_worker(self, number: int) -> WorkerProcess:
        """See :class:`PlaceOwner`."""
        return self.processes.new(number, self._generation)

    async def run(self) -> None:
        """Run workers until :meth:`stop` was called and all have ended, or their programs have, or they cannot start.

        :attr:`failure` says whether they could not.
        """
        _log.info("starting %s", _workers(self.wanted), extra=log_fields("supervisor.starting", count=self.wanted))
        working = asyncio.ensure_future(self._work())
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((working, stopping), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            self._manager.stopping()
            self._stopping.set()
            working.cancel()
            await asyncio.gather(working, stopping, return_exceptions=True)
            await self._end()

    async def _work(self) -> None:
        """Do what has to be done, one thing after the other, until all programs have come to their end."""
        while True:
            self._changed.clear()
            await self._count()
            if self._places and all(place.returned for place in self._places):
                return
            self._look()
            place = self._next_to_replace()
            if place is None or not self._reloading:
                self._tell_ready()
            if place is None:
                await self._changed.wait()
            else:
                await self._replace(place)

    async def _count(self) -> None:
        """Have as many places as are wanted."""
        while len(self._places) < self.wanted:
            taken = {place.number for place in self._places}
            number = next(number for number in range(1, len(taken) + 2) if number not in taken)
            place = WorkerPlace(number, core_of(number) if self.options.bind_core else None, self)
            self._places.append(place)
            place.open()
            assert place.task is not None
            place.task.add_done_callback(lambda _: self._changed.set())
        while len(self._places) > self.wanted:
            place = self._places.pop()
            await place.close()
            _log.info("worker %d has ended", place.number, extra=log_fields("worker.ended", worker=place.number))

    def _look(self) -> None:
        """Notice workers that have to be recycled."""
        for place in self._places:
            place.check()
        if self._loop.time() < self._recycle_from:
            return
        calls, memory = self.options.max_calls, self.options.max_memory
        for place in self._places:
            worker = place.current
            if worker is None or not worker.ready:
                continue
            if calls and worker.calls >= calls:
                place.recycle = f"it has answered {worker.calls} calls"
            elif memory and worker.memory >= memory > worker.first_memory:
                place.recycle = f"it uses {worker.memory / 2**20:.0f} MiB"
            elif memory and worker.first_memory >= memory and not self._limit_too_low:
                self._limit_too_low = True
                _log.warning(
                    "a new worker uses %.0f MiB, more than the limit of %.0f MiB: such workers are not replaced",
                    worker.first_memory / 2**20, memory / 2**20,
                    extra=log_fields("supervisor.memory_limit_too_low"),
                )  # fmt: skip

    def _next_to_replace(self) -> WorkerPlace | None:
        """Return the place with the oldest program, or a worker to recycle. One that starts is waited for."""
        places = [place for place in self._places if place.current is not None and not place.returned]
        old = [place for place in places if place.generation < self._generation]
        if old and not self._reloading:
            self._reloading = True
            self._manager.reloading()
            _log.info(
                "reloading %s, one after another", _workers(len(old)),
                extra=log_fields("supervisor.reloading", count=len(old)),
            )  # fmt: skip
        # The oldest worker first: else one place, whose worker reaches its limit at once, would hold up the others.
        return min(old or [place for place in places if place.recycle], key=WorkerPlace.age_order, default=None)

    async def _replace(self, place: WorkerPlace) -> None:
        if place.recycle and not self._reloading:
            _log.info(
                "%s is replaced: %s", place.current, place.recycle,
                extra=log_fields("worker.replaced", worker=place.number, reason=place.recycle),
            )  # fmt: skip
        generation = self._generation
        try:
            await place.replace()
        except WorkerStartError as error:
            trace = shown_trace(error.trace)
            if self._reloading:
                _log.error(
                    "the reload has stopped, and the workers of before continue: a new worker cannot start: %s%s",
                    error, trace,
                    extra=log_fields("supervisor.reload_failed", error=error),
                )  # fmt: skip
                for each in self._places:
                    each.generation = max(each.generation, generation)
            else:
                _log.error(
                    "%s continues: the one that was to follow it cannot start: %s%s", place.current, error, trace,
                    extra=log_fields("worker.start_failed", worker=place.number, error=error),
                )  # fmt: skip
                place.recycle = ""
                self._recycle_from = self._loop.time() + _RECYCLE_AGAIN

    def _tell_ready(self) -> None:
        """Tell that all workers serve, when they do: at first, and at the end of a reload."""
        if self.was_ready and not self._reloading:
            return
        if not all(place.ready for place in self._places):
            return
        if self._reloading:
            _log.info("reloaded", extra=log_fields("supervisor.reloaded"))
        else:
            _log.info(
                "%s ready: processes %s", _workers(len(self._places)), ", ".join(map(str, sorted(self.processes.pids))),
                extra=log_fields("supervisor.ready", count=len(self._places)),
            )  # fmt: skip
        self.was_ready, self._reloading = True, False
        self._manager.ready()

    def start_failed(self, place: WorkerPlace, error: WorkerStartError) -> None:
        """See :class:`PlaceOwner`."""
        if self._stopping.is_set():
            return
        if place.failures < _START_FAILURES and (error.may_pass or self.was_ready):
            trace = shown_trace(error.trace)
            _log.error(
                "worker %d cannot start, and is tried again: %s%s", place.number, error, trace,
                extra=log_fields("worker.start_failed", worker=place.number, error=error),
            )  # fmt: skip
            return
        self.failure, self.failures = error, place.failures
        self._stopping.set()

    def stop(self, why: str) -> None:
        """See :class:`Controlled`."""
        count = len(self.processes)
        _log.info(
            "%s: stopping %s%s", why, _workers(count), AGAIN if why == "SIGINT" else "",
            extra=log_fields("supervisor.stop_requested", reason=why, count=count),
        )  # fmt: skip
        self._stopping.set()

    def stop_now(self, why: str) -> None:
        """See :class:`Controlled`."""
        _log.warning(
            "%s again: the calls in flight return to their queues", why,
            extra=log_fields("supervisor.stop_hurried", reason=why),
        )  # fmt: skip
        self._stopping.set()
        for worker in self.processes:
            worker.hurry()

    def reload(self, why: str) -> None:
        """See :class:`Controlled`."""
        if not self._stopping.is_set():
            _log.info(
                "%s: %s", why, "another reload follows" if self._reloading else "reload",
                extra=log_fields("supervisor.reload_requested", reason=why),
            )  # fmt: skip
            self._generation += 1
            self._changed.set()

    def show_state(self) -> None:
        """Let all workers log what they run now."""
        for pid in self.processes.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)

    def add_workers(self, count: int, why: str) -> None:
        """See :class:`Controlled`."""
        if self.wanted + count < 1:
            _log.warning(
                "%s: one worker stays", why,
                extra=log_fields("supervisor.workers_changed", reason=why, count=self.wanted),
            )  # fmt: skip
            return
        self.wanted += count
        _log.info(
            "%s: %s from now on", why, _workers(self.wanted),
            extra=log_fields("supervisor.workers_changed", reason=why, count=self.wanted),
        )  # fmt: skip
        self._changed.set()

    async def watch_dog(self) -> None:
        """Give signs of life while the event loop of each worker runs. Runs until cancelled."""
        limit = self._manager.watchdog
        blocked: set[WorkerProcess] = set()
        while limit:
            now = self._loop.time()
            standing = {each for each in self.processes if each.ready and now - each.last_beat > limit / 2}
            for worker in standing - blocked:
                _log.error(
                    "the event loop of %s stands still: no signs of life are given to the watchdog", worker,
                    extra=log_fields("worker.loop_blocked", worker=worker.number, pid=worker.pid),
                )  # fmt: skip
            blocked = standing
            if not standing:
                self._manager.alive()
            await asyncio.sleep(limit / 4)

    async def _end(self) -> None:
        """Let all workers end, and wait until they are gone."""
        closing = [asyncio.ensure_future(place.close()) for place in self._places]
        for worker in self.processes:
            worker.leave()
        await self.processes.wait_gone()
        await asyncio.gather(*closing)


def _workers(count: int) -> str:
    return f"{count} worker{'s' if count != 1 else ''}"
