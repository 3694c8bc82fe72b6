"""What is seen of a supervisor from beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._observability.metric_totals import MetricTotals

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from rabibridge_core._hosting.supervisor.monitor import WorkerView
    from rabibridge_core._hosting.supervisor.supervisor import Supervisor

__all__ = ["ViewOf"]


class ViewOf:
    """Implements :class:`~rabibridge_core._hosting.supervisor.monitor.SupervisorView`."""

    def __init__(self, supervisor: Supervisor, loop: asyncio.AbstractEventLoop) -> None:
        """Look at ``supervisor``, which runs on ``loop``."""
        self._supervisor = supervisor
        self._loop = loop

    @property
    def wanted(self) -> int:
        """How many workers there should be."""
        return self._supervisor.wanted

    @property
    def stopping(self) -> bool:
        """Whether it lets all workers end."""
        return self._supervisor.stopping

    @property
    def was_ready(self) -> bool:
        """Whether all workers have served at the same time."""
        return self._supervisor.was_ready

    @property
    def starts(self) -> int:
        """How many workers were started."""
        return self._supervisor.processes.starts

    @property
    def ends(self) -> Mapping[str, int]:
        """How many workers have ended, and how."""
        return self._supervisor.processes.ends

    def workers(self) -> Sequence[WorkerView]:
        """Return the workers that run."""
        return self._supervisor.processes.views(self._loop.time())

    def totals(self) -> MetricTotals:
        """Return what all workers have counted."""
        stores = self._supervisor.stores
        return MetricTotals() if stores is None else stores.totals()
