"""The worker processes of a supervisor that are not reaped, and how many there have been."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from rabibridge_core._hosting.supervisor.monitor import WorkerView
from rabibridge_core._hosting.supervisor.worker_process import WorkerProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rabibridge_core._hosting.supervisor.worker_stores import WorkerStores

__all__ = ["WorkerSet"]


class WorkerSet:
    """Makes workers, and knows them until they are gone."""

    def __init__(self, beat_interval: float, heard: Callable[[], None], stores: WorkerStores | None) -> None:
        """There is none yet.

        Args:
            beat_interval: how often the event loop of each has to report, in seconds.
            heard: called after each report.
            stores: gives each the memory that it counts in; ``None``: nobody wants their metrics.
        """
        self._beat_interval = beat_interval
        self._heard = heard
        self._stores = stores
        self._workers: set[WorkerProcess] = set()
        self._ended = 0
        self.ends: Counter[str] = Counter()
        """How many have ended, and how: see :class:`~rabibridge_core._hosting.supervisor.monitor.SupervisorView`."""

    def __iter__(self) -> Iterator[WorkerProcess]:
        """Iterate over those that are there now; they may go meanwhile."""
        return iter(list(self._workers))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._workers)

    @property
    def starts(self) -> int:
        """How many were started."""
        return self._ended + sum(1 for worker in self._workers if worker.pid)

    @property
    def pids(self) -> set[int]:
        """Their processes."""
        return {worker.pid for worker in self._workers}

    def new(self, number: int, generation: int) -> WorkerProcess:
        """Return a worker that is not started yet."""
        stores = self._stores
        worker = WorkerProcess(
            number, generation, self._beat_interval, self._heard, None if stores is None else stores.new
        )
        self._workers.add(worker)
        worker.gone.add_done_callback(lambda _: self._gone(worker))
        return worker

    def _gone(self, worker: WorkerProcess) -> None:
        self._workers.discard(worker)
        if worker.metrics is not None:
            worker.metrics.ended()
        if worker.pid:
            self._ended += 1
            code = worker.exit_code
            how = "asked" if worker.leaving else "returned" if code == 0 else "killed" if (code or 0) < 0 else "failed"
            self.ends[how] += 1

    def views(self, now: float) -> list[WorkerView]:
        """Return what can be seen of those that are started."""
        return sorted(
            (
                WorkerView(each.number, each.pid, each.ready, each.leaving, now - each.last_beat, each.problems)
                for each in self
                if each.pid
            ),
            key=lambda view: (view.number, view.leaving, view.pid),
        )

    async def wait_gone(self) -> None:
        """Wait until all are gone, whoever cancels this."""
        while self._workers:
            try:
                await asyncio.wait([worker.gone for worker in self._workers])
            except asyncio.CancelledError:
                continue
