"""What a worker counts for one service where metrics are wanted: the same, in memory that outlives it.

What :class:`ServiceStatistics` counts in attributes goes to cells here. So nothing is counted twice, and a worker that
nobody measures pays nothing for it.
"""

from __future__ import annotations

from math import frexp
from time import time
from typing import TYPE_CHECKING

from rabibridge_core._clock import monotonic
from rabibridge_core._observability.metric_store import Block
from rabibridge_core._observability.metric_totals import EXEMPLAR_CELLS, write_exemplar
from rabibridge_core._server.statistics import ServiceStatistics
from rabibridge_core.introspection.latency import BUCKETS, OCTAVES, OFFSET, SHORTEST, Latency, bucket_of

if TYPE_CHECKING:
    from rabibridge_core._observability.metrics import Metrics
    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core.plugins.observers import Outcome

__all__ = ["MeasuredStatistics"]

REFUSALS = ("deadline", "wait")
"""Why calls are refused that could have run."""
OUTCOMES = ("succeeded", "failed", "declared", "refused", "expired", "cancelled", "requeued", "dead")


def _counted(index: int, cells: str = "_counts", base: str = "_base") -> property:
    """Return an attribute whose value is in a cell. The cells may hold what a service of before has counted."""

    def get(self: MeasuredStatistics) -> int:
        return int(getattr(self, cells)[index]) - int(getattr(self, base)[index])

    def put(self: MeasuredStatistics, value: int) -> None:
        getattr(self, cells)[index] = value + getattr(self, base)[index]

    return property(get, put)


class MeasuredStatistics(ServiceStatistics):
    """The statistics of one service, in the cells of a :class:`~rabibridge_core._observability.metrics.Metrics`."""

    __slots__ = (
        "_base",
        "_buckets_base",
        "_counts",
        "_exemplars",
        "_metrics",
        "_redelivered",
        "_refusals",
        "_refusals_base",
        "_seconds",
    )

    succeeded, failed, declared, refused, expired, cancelled, requeued, dead = map(_counted, range(len(OUTCOMES)))
    refused_late, refused_waiting = (_counted(index, "_refusals", "_refusals_base") for index in range(len(REFUSALS)))

    def __init__(self, service: str, metrics: Metrics, owner: int) -> None:
        """Count for ``service``; must be made in the thread of the event loop.

        Args:
            service: its name.
            metrics: where its calls are counted.
            owner: tells the server apart from others of this process, which have cells of their own.
        """
        labels, store = (("service", service),), metrics.store
        counts = store.cells(Block("counter", "server_calls", labels, "outcome", OUTCOMES), owner=owner).whole
        times = store.cells(Block("histogram", "server_call_duration", labels), BUCKETS + 1, owner=owner)
        self._metrics = metrics
        self._counts = self._base = [0] * len(OUTCOMES)
        self._refusals = self._refusals_base = [0] * len(REFUSALS)
        self._seconds = [0.0]
        super().__init__()
        self._counts, self._base = counts, counts.tolist()
        refusals = store.cells(Block("counter", "server_admission_refusals", labels, "reason", REFUSALS), owner=owner)
        self._refusals, self._refusals_base = refusals.whole, refusals.whole.tolist()
        self.buckets = times.whole[:BUCKETS]
        self._buckets_base = Latency({i: count for i, count in enumerate(self.buckets) if count}, times.real[BUCKETS])
        self._seconds = times.real[BUCKETS:]
        self._redelivered = store.cells(Block("counter", "server_redelivered_calls", labels), owner=owner).whole
        exemplars = Block("exemplars", "server_call_duration", labels)
        self._exemplars = store.cells(exemplars, EXEMPLAR_CELLS * OCTAVES, owner=owner)

    @property
    def seconds(self) -> float:
        """The time of all calls, in seconds."""
        return float(self._seconds[0])

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._seconds[0] = value

    def ended_call(self, active: ActiveRequest, error: BaseException | None, ran: bool | None) -> Outcome:
        """Count a call that has ended, and return how."""
        outcome: Outcome
        if error is None and active.stop_reason is None:  # the usual case, without a step for each attribute
            seconds = monotonic() - active.received_at
            mantissa, exponent = frexp(seconds + SHORTEST)
            self.buckets[(exponent << 3) + int(mantissa * 16.0) + OFFSET] += 1
            self._seconds[0] += seconds
            self._counts[0] += 1
            outcome = "succeeded"
        else:
            outcome = super().ended_call(active, error, ran)
        if active.request.redelivered:
            self._redelivered[0] += 1
        if (exemplar := self._metrics.exemplar) is not None and (ids := exemplar()) is not None:
            seconds = monotonic() - active.received_at
            write_exemplar(self._exemplars, bucket_of(seconds) >> 3, seconds, time(), ids)
        return outcome

    def latency(self) -> Latency:
        """How long calls took."""
        return super().latency() - self._buckets_base
