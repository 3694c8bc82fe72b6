"""The numbers of a service, whether of one worker or of all workers together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rabibridge_core.introspection.calls import CallCounts, FailureRecord
from rabibridge_core.introspection.latency import Latency

__all__ = ["ServiceNumbers"]


@dataclass(frozen=True, slots=True)
class ServiceNumbers:
    """What :class:`ServiceOnWorker` and :class:`ServiceStatus` have in common: on one worker, or on all together.

    Attributes:
        name: the name of the service, which clients call.
        kind: ``"async"`` or ``"sync"``: how its function is written. A service that exists in both kinds is two.
        in_hand: how many calls were received and not answered.
        running: how many of those run; the others wait on their worker for their turn.
        concurrency: how many may run at a time: with ``fetch_size="auto"`` the limit of now, else ``fetch_size``.
        counts: how many calls have ended, and how.
        rate: calls that have ended in one second, over the last ten seconds or so.
        rate_1m: the same over the last minute.
        latency: how long those that ended took, since the service was started.
        recent: the same for the last one to two minutes.
        failures: the last failures, the latest first; a few kinds of each worker.
        concurrency_min: the least that ``concurrency`` may become with ``fetch_size="auto"``; ``None`` without it.
        concurrency_max: the most.
        no_load_latency: with ``fetch_size="auto"``, how long a call takes while others do not slow it down, in seconds;
            of several workers, the shortest. ``None``: not known, or without it.
        rate_limit: how many calls may start in one second on all workers together (``rate=``); ``None``: no limit. If
            workers differ, as while it is changed, the highest.
        rate_share: how many of them on this worker, or on those that have answered; a worker that does not know yet how
            many there are has 0.
        rate_waiting: how many calls wait for their turn by that limit; they count as running.
        rate_refused: how many were refused because they would have had to wait too long for it.
    """

    name: str
    kind: str = "async"
    in_hand: int = 0
    running: int = 0
    concurrency: int = 0
    counts: CallCounts = field(default_factory=CallCounts)
    rate: float = 0.0
    rate_1m: float = 0.0
    latency: Latency = field(default_factory=Latency)
    recent: Latency = field(default_factory=Latency)
    failures: tuple[FailureRecord, ...] = ()
    concurrency_min: int | None = None
    concurrency_max: int | None = None
    no_load_latency: float | None = None
    rate_limit: float | None = None
    rate_share: float | None = None
    rate_waiting: int = 0
    rate_refused: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        of_rate: dict[str, Any] = {}
        if self.rate_limit is not None:
            of_rate["rate_limit"], of_rate["rate_share"] = self.rate_limit, self.rate_share
            of_rate["rate_waiting"], of_rate["rate_refused"] = self.rate_waiting, self.rate_refused
        return of_rate | {
            "name": self.name,
            "kind": self.kind,
            "in_hand": self.in_hand,
            "running": self.running,
            "concurrency": self.concurrency,
            "counts": self.counts.to_json(),
            "rate": self.rate,
            "rate_1m": self.rate_1m,
            "latency": self.latency.to_json(),
            "recent": self.recent.to_json(),
            "failures": [failure.to_json() for failure in self.failures],
            "concurrency_min": self.concurrency_min,
            "concurrency_max": self.concurrency_max,
            "no_load_latency": self.no_load_latency,
        }
