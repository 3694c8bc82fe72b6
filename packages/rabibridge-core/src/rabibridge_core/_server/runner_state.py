"""What is known of one service on one worker, at the moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._server.fair_queue import FairQueue
from rabibridge_core._server.rate import LOOK_INTERVAL

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from rabibridge_core._observability.call_context import CurrentCall
    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._server.broadcasts import Broadcasts
    from rabibridge_core._server.concurrency import ConcurrencyLimiter
    from rabibridge_core._server.outlasting import OutlastingHandlers
    from rabibridge_core._server.processor import RequestProcessor
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.transport import Consumer

__all__ = ["RunnerState"]


class RunnerState:
    """The state of a :class:`ServiceRunner`, for those who look at it.

    Attributes:
        consumer: receives its requests; ``None``: it has not started.
        processor: processes them.
        broadcasts: its broadcasts.
    """

    consumer: Consumer | None
    processor: RequestProcessor
    broadcasts: Broadcasts
    _processor: RequestProcessor
    _active: set[ActiveRequest]
    _outlasting: OutlastingHandlers
    _limiter: ConcurrencyLimiter | None
    _maintenance: asyncio.Task[None] | None

    @property
    def schema(self) -> ServiceSchema:
        """The service."""
        return self._processor.schema

    @property
    def active_requests(self) -> int:
        """Number of requests that are processed or queued here."""
        return len(self._active) + len(self.broadcasts.active)

    @property
    def running(self) -> int:
        """Number of requests that have a task: the others wait here."""
        return sum(active.task is not None for active in self._active)

    @property
    def fair_refusals(self) -> int | None:
        """How many requests of callers with many were refused here; ``None``: the broker refuses, whoever comes."""
        return self._limiter.refused if isinstance(self._limiter, FairQueue) else None

    @property
    def shutting_down(self) -> bool:
        """Whether the event loop has cancelled all of its tasks, because its program ends."""
        return self._maintenance is not None and (self._maintenance.cancelled() or self._maintenance.cancelling() > 0)

    @property
    def problem(self) -> str:
        """Why no handler can start now although requests arrive; empty: none is known."""
        return self._processor.problem or self._outlasting.problem(self.schema.most)

    @property
    def live(self) -> bool:
        """Whether requests arrive."""
        return self.consumer is not None and self.consumer.live

    def runs(self, work: asyncio.Task[object] | CurrentCall) -> bool:
        """Tell whether this task processes one of the requests, or this call is one; may be called from any thread."""
        return any(work is active or work is active.task for active in self.all_active())

    def all_active(self) -> tuple[ActiveRequest, ...]:
        """Return the requests that are processed or queued here; may be called from any thread."""
        return *self._active, *self.broadcasts.active

    def _sharing(self) -> tuple[list[Callable[[int], None]], float]:
        """Return what is told the number of workers, and how often they have to be counted, in seconds."""
        told: list[Callable[[int], None]] = []
        if (rate := self._processor.rate) is not None:
            told.append(rate.observed)
        if isinstance(self._limiter, FairQueue):
            told.append(self._limiter.share)
        return told, LOOK_INTERVAL
