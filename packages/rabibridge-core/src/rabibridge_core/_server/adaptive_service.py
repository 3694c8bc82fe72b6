"""A service that finds out how many calls to run at a time: ``fetch_size="auto"``.

The limit acts here: of the calls that the worker has fetched, it starts as many as the limit allows. What it fetches
follows the limit in larger steps, as RabbitMQ has no cheap way to change that: a little more than the limit, so that a
call that ends is followed by another at once, and never more than it starts within a few hundredths of a second.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from math import ceil
from typing import TYPE_CHECKING, Any

from rabibridge_core._clock import monotonic
from rabibridge_core._concurrency.background import TaskSet
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core._server.active_request import ActiveRequest
from rabibridge_core._server.adaptive_limit import AdaptiveLimit
from rabibridge_core._server.classed_service import ClassedServiceRunner
from rabibridge_core._server.concurrency import ConcurrencyLimiter
from rabibridge_core._server.service import MAINTENANCE_INTERVAL, ServiceRunner
from rabibridge_core.errors import RabiBridgeError
from rabibridge_core.transport import AdjustableConsumer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.transport import Consumer, IncomingRequest, ServiceQueue, Transport

__all__ = ["AdaptiveServiceRunner", "adaptive_limit_of", "runner_class"]

_log = get_logger(__name__)
_AHEAD = 0.02
"""For how long a call that was fetched waits here for its start, in seconds, while all goes on as it does."""
_AHEAD_MIN = 16
"""How many calls may be fetched ahead at any limit, if they start within that time."""
_SPARE = 1.25
"""How far what is fetched is above the limit, so that not each step of the limit changes it."""
_SHRINK = 0.6
"""Less is fetched when it would be less than this part of what is."""


class AdaptiveServiceRunner(ServiceRunner):
    """Receives the requests of one service, and finds out how many to run at a time.

    Attributes:
        adaptive: the limit, and what is known about the calls.
    """

    def __init__(self, schema: ServiceSchema, *args: Any, **options: Any) -> None:
        """Serve ``schema``; the arguments are those of :class:`ServiceRunner`."""
        super().__init__(schema, *args, **options)
        assert schema.bounds is not None
        self.adaptive = AdaptiveLimit(*schema.bounds, monotonic())
        self._starts = self._limiter or ConcurrencyLimiter(schema.concurrency, self._start_queued)
        self._limiter = self._starts
        self._processor.notifies_owner = True
        self._fetched = 2 * schema.concurrency
        self._changing = TaskSet()

    @property
    def limit(self) -> int:
        """How many calls may run now."""
        return self.adaptive.limit

    async def _open(self, transport: Transport) -> Consumer:
        consumer = await super()._open(transport)
        if not self._at_most_once and not isinstance(consumer, AdjustableConsumer):
            await consumer.stop()
            return await transport.serve(replace(self._queues(self.schema.most, 0)[0], redeclare=False), self)
        return consumer

    def replace_handler(self, schema: ServiceSchema) -> None:
        """Run the handler of ``schema`` from the next request on; the limit stays."""
        super().replace_handler(schema)
        self._starts.resize(self.adaptive.limit)

    def received(self, request: IncomingRequest, /) -> None:
        """Called when a request arrives."""
        if self._at_most_once and request.redelivered:
            self._processor.refuse_redelivered(request)
            return
        self._active.add(active := ActiveRequest(self._name, request, self._places))
        if self._starts.acquire():
            self._start_queued(active)
        else:
            self._enqueue(active, self._starts)

    def _start_queued(self, active: ActiveRequest) -> None:
        active.started_at = now = monotonic()
        self.adaptive.started(now)
        super()._start_queued(active)

    def request_finished(self, active: ActiveRequest, /) -> None:
        """Called when the processing of a request ends."""
        adaptive = self.adaptive
        adaptive.ended(monotonic(), active.started_at, succeeded=active.outcome == "succeeded")
        self._starts.limit = adaptive.limit
        super().request_finished(active)
        if not (self._changing or self._at_most_once) and (wanted := self._to_fetch()):
            self._changing.spawn(self._fetch(wanted))

    def _to_fetch(self) -> int:
        """Return how many requests are to be at hand from now on; 0: as many as until now."""
        peak, mean = self.adaptive.peak, self.adaptive.mean
        ahead = peak if not mean else min(max(ceil(_AHEAD * peak / mean), 1), max(peak, _AHEAD_MIN))
        wanted = min(ceil(_SPARE * peak), self.schema.most) + ahead
        return wanted if peak + 1 > self._fetched or wanted < _SHRINK * self._fetched else 0

    def _queues(self, running: int, ahead: int) -> tuple[ServiceQueue, ...]:
        return self.schema.fetching(running, ahead).queues

    def _consumers(self) -> list[Consumer | None]:
        return [self.consumer]

    async def _fetch(self, wanted: int) -> None:
        """Fetch another number of requests; give back those that could not start soon."""
        shrinks, peak = wanted < self._fetched, self.adaptive.peak
        waiting = [one for one in self._active if one.task is None and not one.request.redelivered] if shrinks else []
        try:
            for consumer, queue in zip(self._consumers(), self._queues(peak, wanted - peak), strict=True):
                if isinstance(consumer, AdjustableConsumer):
                    await consumer.set_fetch_size(queue.fetch_size)
        except RabiBridgeError as error:
            _log.debug(
                "service %r: what is fetched cannot be changed now: %s", self._name, error,
                extra=log_fields("service.fetch_size_kept", service=self._name, error=error),
            )  # fmt: skip
            await asyncio.sleep(1.0)
            return
        self._fetched = wanted
        for active in waiting:  # each one once
            if active.task is None and active in self._active:
                self.stop_request(active, "requeued")
        if shrinks:
            await asyncio.sleep(1.0)  # it may have to grow again

    def _sharing(self) -> tuple[list[Callable[[int], None]], float]:
        """Count the workers that press the same backend, too; not as often as a limit that they share needs it."""
        told, interval = super()._sharing()
        return [*told, self._pressed_by], interval if told else MAINTENANCE_INTERVAL

    def _pressed_by(self, workers: int) -> None:
        self.adaptive.workers = max(workers, 1)

    async def stop_consuming(self) -> None:
        """Receive no more requests. The active ones continue."""
        for task in self._changing:
            task.cancel()
        await super().stop_consuming()


class AdaptiveClassedServiceRunner(AdaptiveServiceRunner, ClassedServiceRunner):
    """The same for a service with classes of criticality."""

    def _consumers(self) -> list[Consumer | None]:
        return [lane.consumer for lane in self._lanes]

    async def _open(self, transport: Transport) -> Consumer:
        return await ClassedServiceRunner._open(self, transport)


def adaptive_limit_of(runner: ServiceRunner | None) -> AdaptiveLimit | None:
    """Return what a service has found out; ``None``: it does not run, or its limit is fixed."""
    return runner.adaptive if isinstance(runner, AdaptiveServiceRunner) else None


def runner_class(schema: ServiceSchema) -> type[ServiceRunner]:
    """Return what runs a service."""
    if schema.bounds is None:
        return ClassedServiceRunner if schema.classes else ServiceRunner
    return AdaptiveClassedServiceRunner if schema.classes else AdaptiveServiceRunner
