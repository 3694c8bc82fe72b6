"""One service on one worker: receives requests, limits how many run, stops them, and drains at the end."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from rabibridge_core._clock import monotonic
from rabibridge_core._concurrency.background import repeat
from rabibridge_core._server.active_request import ActiveRequest, StopReason, probe_callers
from rabibridge_core._server.broadcasts import BroadcastLane, Broadcasts
from rabibridge_core._server.caller_clocks import CallerClocks
from rabibridge_core._server.cancelled_calls import CancellationBatch, CancelledCalls
from rabibridge_core._server.concurrency import ConcurrencyLimiter
from rabibridge_core._server.deduplication import DeduplicationCache
from rabibridge_core._server.drain import Drain
from rabibridge_core._server.fair_queue import FairQueue
from rabibridge_core._server.limiters import limiter_of
from rabibridge_core._server.outlasting import OutlastingHandlers, log_lost, log_outlasting
from rabibridge_core._server.places import ServicePlaces
from rabibridge_core._server.processor import RequestProcessor
from rabibridge_core._server.runner_state import RunnerState
from rabibridge_core._server.stopping import RequestStopper
from rabibridge_core._server.takeover import FollowedOwner, Takeover
from rabibridge_core._server.worker_count import WorkerCount
from rabibridge_core.transport import ConsumerCounter

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._server.process_scope import ProcessScope
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.errors import ConnectionLostError, ContentRejectedError
    from rabibridge_core.plugins.call_hooks import CallHooks
    from rabibridge_core.transport import Consumer, IncomingBroadcast, IncomingRequest, Reply, Transport

__all__ = ["MAINTENANCE_INTERVAL", "ServiceRunner"]

MAINTENANCE_INTERVAL = 5.0
"""Interval in seconds at which callers of long-running requests are probed and old replies are dropped."""


class ServiceRunner(RunnerState):
    """Receives the requests of one service and processes each in a task of its own.

    At least once: a request is settled after its reply was sent. At most once: it is settled before its handler
    starts. If more requests arrive than may run at a time, the others are queued here in order of arrival.
    """

    def __init__(
        self,
        schema: ServiceSchema,
        codec: Codec,
        hooks: CallHooks,
        *,
        clock: Callable[[], float] = monotonic,
        clocks: CallerClocks | None = None,
        worker: str = "",
        process: ProcessScope | None = None,
    ) -> None:
        """Serve ``schema``; must be made on the running event loop.

        Args:
            schema: the service; only its handler may be replaced later.
            codec: decodes arguments and encodes results.
            hooks: called when a request is received and when it is finished.
            clock: measures the age of stored replies and cancellations, in seconds.
            clocks: the clocks of callers; ``None``: new ones.
            worker: the name of this worker, which goes with its answers to broadcasts.
            process: what its handlers need that lives longer than a call; ``None``: nothing.
        """
        self.consumer: Consumer | None = None
        self._loop = asyncio.get_running_loop()
        self._cancelled_calls, self._cancellations = CancelledCalls(clock), CancellationBatch(self._stop_cancelled)
        self._deduplication = DeduplicationCache[ActiveRequest](clock)
        clocks = CallerClocks() if clocks is None else clocks
        self.processor = self._processor = RequestProcessor(
            schema, codec, hooks,
            owner=self, deduplication=self._deduplication, cancelled_calls=self._cancelled_calls,
            clocks=clocks, process=process,
        )  # fmt: skip
        self.broadcasts = Broadcasts(partial(
            BroadcastLane, codec=codec, hooks=hooks, worker=worker, clocks=clocks, clock=clock, process=process,
            shutting_down=lambda: self.shutting_down, calls=self._processor, cancelled_calls=self._cancelled_calls,
        ))  # fmt: skip
        self._active, self._places = self._processor.active, ServicePlaces(self._processor)
        self._name, self._at_most_once = schema.name, schema.delivery == "at-most-once"
        self._limiter: ConcurrencyLimiter | None = limiter_of(schema, self._start_queued, self._active)
        self._processor.notifies_owner = self._limiter is not None
        self._stopper = RequestStopper(self._processor, self._drop_queued)
        self._takeover, self._drain, self._outlasting = Takeover(), Drain(), OutlastingHandlers(schema.name)
        self._maintenance: asyncio.Task[None] | None = None  # cancelled when its program ends, as all tasks are
        self._workers: WorkerCount | None = None

    async def start(self, transport: Transport) -> None:
        """Declare the queue and start to consume."""
        opening = self._loop.create_task(self._open(transport))
        try:
            self.consumer = await asyncio.shield(opening)
        except asyncio.CancelledError:
            # The broker may have started to deliver: whoever stops this service must know its consumer.
            (opened,) = await asyncio.gather(opening, return_exceptions=True)
            if not isinstance(opened, BaseException):
                self.consumer = opened
            raise
        self._maintenance = self._loop.create_task(repeat(MAINTENANCE_INTERVAL, self._maintain))
        self.count_workers(transport)

    def count_workers(self, transport: Transport) -> None:
        """Called when requests may arrive: count the workers from now on, if they share a limit."""
        told, interval = self._sharing()
        if told and isinstance(transport, ConsumerCounter):
            self._workers = WorkerCount(transport, self.schema.queue, lambda: self.live, told, interval)

    async def _open(self, transport: Transport) -> Consumer:
        return await transport.serve(self.schema.queue, self)

    def can_go_on_as(self, schema: ServiceSchema) -> bool:
        """Tell whether :meth:`replace_handler` is enough to become ``schema``: its queue and limits are the same."""
        before = self.schema
        same = all(getattr(before, what) == getattr(schema, what) for what in ("queues", "executor", "bounds"))
        rated = (before.rate is None) == (schema.rate is None)
        return same and rated and (self._at_most_once or before.concurrency == schema.concurrency)

    def replace_handler(self, schema: ServiceSchema) -> None:
        """Run the handler of ``schema`` from the next request on; the queue and its limits stay."""
        self._processor.replace_handler(schema)
        if self._limiter is not None:
            self._limiter.resize(schema.concurrency)
        self.broadcasts.use(schema)

    def follow(self, before: ServiceRunner) -> None:
        """Count the requests that ``before``, which receives no more, still has against the limit of this one."""
        if not (count := len(before._active) + before._takeover.pending):
            return
        before._processor.notifies_owner = True
        before._processor.owner = FollowedOwner(before, before._takeover)  # others need no such step for each call
        self._takeover.begin(before._takeover, count, self._limit_here(), before._limiter)

    def _limit_here(self) -> ConcurrencyLimiter:
        """Limit the running requests, even if the broker delivers no more than may run."""
        self._processor.notifies_owner = True
        if self._limiter is None:
            self._limiter = ConcurrencyLimiter(self.schema.concurrency, self._start_queued)
            self._limiter.occupy(len(self._active))
        return self._limiter

    async def stop_consuming(self) -> None:
        """Receive no more requests. The active ones continue."""
        if self.consumer is not None:
            await self.consumer.stop()
        if self._workers is not None:
            self._workers.stop()
            self._workers = None

    async def stop(self, drain_timeout: float) -> int:
        """Stop consuming, finish the requests within ``drain_timeout`` seconds, and requeue and count the others."""
        began, unfinished = monotonic(), 0
        try:
            await self.stop_consuming()
            self._give_back_waiting()
            broadcasts = self.broadcasts.start_stopping(drain_timeout)
            if self._active:
                self._processor.notifies_owner = True
                await self._drain.wait(drain_timeout)
            if unfinished := len(self._active):
                took, requeued = monotonic() - began, not self._at_most_once
                self._drain.log_unfinished(self._name, unfinished, took, drain_timeout, requeued=requeued)
                await self._stopper.requeue_all()
                log_outlasting(self._name, self._active)
            if broadcasts is not None:
                unfinished += await broadcasts
            self._processor.close()
        finally:
            self._processor.settler.failures.summarize()
            if self._maintenance is not None:
                self._maintenance.cancel()
        return unfinished

    def _give_back_waiting(self) -> None:
        """Give requests that wait for a token to the other workers, which share the rate without this one now."""
        if (rate := self._processor.rate) is not None:
            for active in [one for one in rate.waiting if one in self._active]:
                self.stop_request(active, "requeued")

    def abort_drain(self) -> None:
        """Make :meth:`stop`, running or called later, requeue the active requests at once."""
        self._drain.abort()
        self.broadcasts.abort_drain()

    def received(self, request: IncomingRequest, /) -> None:
        """Called when a request arrives."""
        if self._at_most_once and request.redelivered:
            self._processor.refuse_redelivered(request)
            return
        self._active.add(active := ActiveRequest(self._name, request, self._places))
        if (limiter := self._limiter) is not None and not limiter.acquire():
            self._enqueue(active, limiter)
            return
        task = self._loop.create_task(self._processor.process(active), name=self._name)
        if not active.over:  # as after ActiveRequest.run_by(), without a call for each request
            active.task = task

    def broadcast_received(self, request: IncomingBroadcast, /) -> None:
        """Called when a broadcast to the service arrives: it runs beside the calls."""
        self.broadcasts.received(request, self.schema)

    def _enqueue(self, active: ActiveRequest, limiter: ConcurrencyLimiter) -> None:
        if (surplus := limiter.surplus(active)) is not None:
            assert isinstance(limiter, FairQueue)
            self._processor.refuse_unstarted(surplus, limiter.refusal(self._name))
            if surplus is active:
                return
            self._takeover.finished()
        try:
            self._processor.arm_deadline(active)  # time spent in the queue counts
        except Exception as error:  # noqa: BLE001 - what a request says about its time must not harm the connection
            self._processor.refuse_unstarted(active, error)
        else:
            limiter.enqueue(active)
            if isinstance(limiter, FairQueue) and (timeout := self.schema.timeout) is not None:
                self._loop.call_later(timeout, self._waited, active)

    def _waited(self, active: ActiveRequest) -> None:
        """Called when a request was here for as long as one may wait in the queue: the broker no longer sees to it."""
        if active.task is None and active in self._active:
            self.stop_request(active, "expired")

    def _start_queued(self, active: ActiveRequest) -> None:
        active.run_by(self._loop.create_task(self._processor.process(active), name=self._name))

    def request_finished(self, active: ActiveRequest, /) -> None:
        """Called when the processing of a request ends."""
        if (limiter := self._limiter) is not None:
            limiter.release(active)
        self._drain.check(self._active)

    def lost(self, error: ConnectionLostError, /) -> None:
        """Called when a connection or channel is lost: stops its requests, which the broker delivers again.

        An accepted request (at most once) continues, as no other worker will run it.
        """
        if void := [one for one in self._active if one.request.void and not (one.accepted or one.stop_reason)]:
            log_lost(self._name, len(void), error)
        if self._active:  # they may take their time to end, and others come on the next connection or channel
            self._limit_here()
        for active in void:
            self.stop_request(active, "void")
        if self._workers is not None:
            self._workers.lost()

    def reply_refused(self, request: IncomingRequest, error: ContentRejectedError, /) -> None:
        """Called when the broker does not accept the reply to a request: replies with the error instead."""
        self._processor.settler.refuse_reply(request, error)

    def cancelled(self, caller: bytes, correlation_id: bytes, user: str = "", /) -> None:
        """Called when a caller cancels a call: stops it, or drops its request on arrival."""
        if correlation_id:
            self.broadcasts.cancelled(caller, correlation_id, user)
            self._cancellations.add_call(caller, correlation_id, user)
            self._cancelled_calls.add_call(caller, correlation_id, user)

    def fed(self, caller: bytes, correlation_id: bytes, message: Reply, user: str = "", /) -> None:
        """Called with a further message of a caller, for one of its streams or uploads."""
        if (sessions := self._processor.sessions) is not None and sessions.fed((caller, correlation_id, user), message):
            self.cancelled(caller, correlation_id, user)

    def caller_gone(self, caller: bytes, /) -> None:
        """Called when a caller has disconnected: stops its calls, or drops them on arrival, except persistent ones."""
        self.broadcasts.cancelled(caller)
        self._cancellations.add_caller(caller)
        self._cancelled_calls.add_caller(caller)

    def _stop_cancelled(self, cancellations: CancellationBatch) -> None:
        for active in list(self._active):
            if active.request in cancellations:
                self._cancelled_calls.discard(active.request)  # it is here: nothing else is to be dropped
                self.stop_request(active, "cancelled")

    def _maintain(self) -> None:
        self._processor.statistics.sample()
        self._deduplication.purge()
        self._cancelled_calls.purge()
        self._processor.settler.failures.summarize()
        self._outlasting.look(self._active, self.schema.most)
        probe_callers(self.all_active())

    def stop_request(self, active: ActiveRequest, reason: StopReason, /) -> None:
        """Stop an active request; without effect if it is stopped already. It raises nothing."""
        if reason == "overran":
            self._limit_here()  # it is settled, so that another one comes, and may take its time to end
        self._stopper.stop_request(active, reason)

    def _drop_queued(self, active: ActiveRequest) -> None:
        self._limit_here().remove(active)
        self._processor.drop(active)
        self._takeover.finished()
        self._drain.check(self._active)
