"""What can be seen of a supervisor by what runs beside it and tells others: metrics and health."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rabibridge_core._observability.metric_totals import MetricTotals

__all__ = ["SupervisorMonitor", "SupervisorView", "WorkerView"]


@dataclass(frozen=True, slots=True)
class WorkerView:
    """One worker process at this moment.

    Attributes:
        number: which worker it is, from 1.
        pid: the id of its process.
        ready: whether it has said that it serves, and runs still.
        leaving: whether it was asked to end.
        silent: for how many seconds its event loop has not reported.
        problems: why it does not take calls of all of its services, as its ``health()`` says; empty: it does.
    """

    number: int
    pid: int
    ready: bool
    leaving: bool
    silent: float
    problems: tuple[str, ...]


class SupervisorView(Protocol):
    """A supervisor, seen from beside it, on its event loop."""

    @property
    def wanted(self) -> int:
        """How many workers there should be."""
        ...

    @property
    def stopping(self) -> bool:
        """Whether it lets all workers end."""
        ...

    @property
    def was_ready(self) -> bool:
        """Whether all workers have served at the same time."""
        ...

    def workers(self) -> Sequence[WorkerView]:
        """Return the workers that run, by number; a worker and the one that follows it may both be there."""
        ...

    @property
    def starts(self) -> int:
        """How many workers were started."""
        ...

    @property
    def ends(self) -> Mapping[str, int]:
        """How many workers have ended: ``asked``, ``returned``, ``failed`` (with an exit code), ``killed``."""
        ...

    def totals(self) -> MetricTotals:
        """Return what all workers have counted, also those that have ended."""
        ...


class SupervisorMonitor(Protocol):
    """What runs beside a supervisor and tells others."""

    async def watch(self, supervisor: SupervisorView, /) -> None:
        """Tell others until cancelled."""
        ...
