"""What is told about a program: whether it lives, whether it is ready, and its metrics."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rabibridge_core._observability.metric_totals import MetricTotals, Series
from rabibridge_telemetry._metrics.client_calls import count_calls

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rabibridge_core._hosting.supervisor.monitor import SupervisorView, WorkerView
    from rabibridge_core._observability.health import Health

__all__ = ["HasHealth", "ProgramSource", "Source", "SupervisorSource", "Verdict"]

STANDSTILL = 60.0
"""For how many seconds an event loop may stand still until its program does not count as alive."""
_REACTS = 1.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a probe.

    Attributes:
        ok: whether it is good.
        reasons: what is wrong, each a sentence; there may be some although it is good.
    """

    ok: bool
    reasons: tuple[str, ...] = ()


class HasHealth(Protocol):
    """A client or a server: what has ``health()``."""

    def health(self) -> Health:
        """Tell whether it can do its work now, and if not, why."""
        ...


class Source(Protocol):
    """What a health server tells."""

    async def alive(self) -> Verdict:
        """Tell whether the program runs, so that it need not be started anew."""
        ...

    async def ready(self) -> Verdict:
        """Tell whether it can do its work now."""
        ...

    def totals(self) -> MetricTotals:
        """Return its metrics."""
        ...


class ProgramSource:
    """Tells about clients and servers of this process."""

    def __init__(self, parts: Sequence[HasHealth], *, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Tell about ``parts``, which run on ``loop``; ``None``: on the event loop that asks."""
        self._parts = parts
        self._loop = loop
        self._metrics = count_calls()
        self._turned = 0.0

    def turned(self, now: float) -> None:
        """Called regularly while the event loop runs; ``now``: on the clock of ``time.monotonic``."""
        self._turned = now

    async def alive(self) -> Verdict:
        """Tell whether the event loop runs."""
        from time import monotonic

        stands = monotonic() - self._turned if self._loop is not None and self._turned else 0.0
        if stands > STANDSTILL:
            return Verdict(False, (f"the event loop has stood still for {stands:.0f} s",))
        return Verdict(True)

    async def ready(self) -> Verdict:
        """Tell whether all clients and servers are healthy."""
        if self._loop is None:
            return self._look()
        try:
            asking = asyncio.run_coroutine_threadsafe(self._look_there(), self._loop)
        except RuntimeError:
            return Verdict(False, ("the event loop is closed",))
        try:
            return await asyncio.wait_for(asyncio.wrap_future(asking), _REACTS)
        except TimeoutError:
            return Verdict(False, (f"the event loop has not reacted within {_REACTS:g} s",))

    async def _look_there(self) -> Verdict:
        return self._look()

    def _look(self) -> Verdict:
        found = [part.health() for part in self._parts]
        return Verdict(all(each.ok for each in found), tuple(reason for each in found for reason in each.reasons))

    def totals(self) -> MetricTotals:
        """Return what this process has counted."""
        self._metrics.measure()
        totals = MetricTotals()
        totals.add_store(self._metrics.store)
        return totals


class SupervisorSource:
    """Tells about a supervisor and its workers."""

    def __init__(self, supervisor: Callable[[], SupervisorView | None]) -> None:
        """Tell about what ``supervisor`` returns; ``None``: it has not begun."""
        self._supervisor = supervisor

    async def alive(self) -> Verdict:
        """Tell whether the event loops of all workers run: as the watchdog of systemd is told it."""
        view = self._supervisor()
        stand = [each for each in (view.workers() if view else ()) if each.ready and each.silent > STANDSTILL]
        return Verdict(
            not stand, tuple(f"{_name(each)}: its event loop has stood still for {each.silent:.0f} s" for each in stand)
        )

    async def ready(self) -> Verdict:
        """Tell whether at least one worker takes calls of all services; the reasons tell what is wrong with others."""
        view = self._supervisor()
        if view is None:
            return Verdict(False, ("the workers are starting",))
        workers = view.workers()
        reasons = [f"{_name(each)}: {problem}" for each in workers for problem in _problems(each)]
        if view.stopping:
            return Verdict(False, ("the workers are stopping", *reasons))
        missing = view.wanted - sum(1 for each in workers if not each.leaving)
        if missing > 0:
            reasons.append(f"{missing} of {view.wanted} workers are not running")
        return Verdict(view.was_ready and any(_state(each) == "ready" for each in workers), tuple(reasons))

    def totals(self) -> MetricTotals:
        """Return what all workers have counted, and how many workers there are and were."""
        view = self._supervisor()
        if view is None:
            return MetricTotals()
        totals = view.totals()
        states: dict[str, int] = dict.fromkeys(("ready", "degraded", "starting", "leaving"), 0)
        for worker in view.workers():
            states[_state(worker)] += 1
        for state, count in states.items():
            totals.numbers[Series("gauge", "workers", (("state", state),))] = count
        totals.numbers[Series("gauge", "workers_wanted")] = view.wanted
        totals.numbers[Series("counter", "worker_starts")] = view.starts
        for how in ("asked", "returned", "failed", "killed"):
            totals.numbers[Series("counter", "worker_ends", (("how", how),))] = view.ends.get(how, 0)
        return totals


def _name(worker: WorkerView) -> str:
    return f"worker {worker.number} (process {worker.pid})"


def _state(worker: WorkerView) -> str:
    if worker.leaving:
        return "leaving"
    if not worker.ready:
        return "starting"
    return "degraded" if worker.problems else "ready"


def _problems(worker: WorkerView) -> tuple[str, ...]:
    return ("it is starting",) if _state(worker) == "starting" else worker.problems
