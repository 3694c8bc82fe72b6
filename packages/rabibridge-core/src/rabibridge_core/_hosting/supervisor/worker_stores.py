"""The metrics of the workers of a supervisor: memory for each, and the sums of those that have ended."""

from __future__ import annotations

import os

from rabibridge_core._observability.metric_store import MetricStore, shared_memory_file
from rabibridge_core._observability.metric_totals import MetricTotals

__all__ = ["WorkerMetrics", "WorkerStores"]


class WorkerMetrics:
    """The memory in which one worker counts; this process reads it."""

    def __init__(self, stores: WorkerStores) -> None:
        """Make the memory; it is not shared yet.

        Raises:
            OSError: there is none.
        """
        self._stores = stores
        self.descriptor = shared_memory_file()
        """Is given to the worker."""
        self.store = MetricStore.opened(os.dup(self.descriptor))

    def close_descriptor(self) -> None:
        """Called when the worker has the memory, or will never have it."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def ended(self) -> None:
        """Called when the worker is gone: what it has counted stays in the sums."""
        self.close_descriptor()
        self._stores.fold(self)


class WorkerStores:
    """Reads what all workers have counted, whether they run or have ended."""

    def __init__(self) -> None:
        """There is no worker yet."""
        self._workers: set[WorkerMetrics] = set()
        self._ended = MetricTotals()

    def new(self) -> WorkerMetrics:
        """Return memory for a worker that is about to start.

        Raises:
            OSError: there is none.
        """
        worker = WorkerMetrics(self)
        self._workers.add(worker)
        return worker

    def fold(self, worker: WorkerMetrics) -> None:
        """See :meth:`WorkerMetrics.ended`."""
        if worker in self._workers:
            self._workers.remove(worker)
            self._ended.add_store(worker.store, ended=True)
            worker.store.close()

    def totals(self) -> MetricTotals:
        """Return the sums at this moment."""
        totals = MetricTotals()
        totals.add_totals(self._ended)
        for worker in self._workers:
            totals.add_store(worker.store)
        return totals
