"""One service on one worker: receives requests, limits how many run, stops them, and drains at the end."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

from rabibridge_core._server.active_request import ActiveRequest, StopReason
from rabibridge_core._server.caller_clocks import CallerClocks
from rabibridge_core._server.cancelled_calls import CancellationBatch, CancelledCalls
from rabibridge_core._server.concurrency import ConcurrencyLimiter
from rabibridge_core._server.deduplication import DeduplicationCache
from rabibridge_core._server.drain import Drain
from rabibridge_core._server.exceptions import TooLateError
from rabibridge_core._server.processor import RequestProcessor

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.errors import ConnectionLostError, ContentRejectedError
    from rabibridge_core.plugins.call_hooks import CallHooks
    from rabibridge_core.transport import Consumer, IncomingRequest, Transport

__all__ = ["MAINTENANCE_INTERVAL", "ServiceRunner"]

_log = logging.getLogger(__name__)
_CANCEL_GRACE = 5.0
"""How long cancelled handlers may take to clean up when a service stops, in seconds."""
MAINTENANCE_INTERVAL = 5.0
"""Interval in seconds at which callers of long-running requests are probed and old replies are dropped."""


class ServiceRunner:
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
    ) -> None:
        """Serve ``schema``; must be made on the running event loop.

        Args:
            schema: the service; only its handler may be replaced later.
            codec: decodes arguments and encodes results.
            hooks: called when a request is received and when it is finished.
            clock: measures the age of stored replies and cancellations, in seconds.
            clocks: the clocks of callers; ``None``: new ones.
        """
        self.consumer: Consumer | None = None
        self._loop = asyncio.get_running_loop()
        self._cancelled_calls = CancelledCalls(clock)
        self._cancellations = CancellationBatch(self._stop_cancelled)
        self._deduplication = DeduplicationCache[ActiveRequest](clock)
        self._processor = RequestProcessor(
            schema, codec, hooks,
            owner=self, deduplication=self._deduplication, cancelled_calls=self._cancelled_calls,
            clocks=CallerClocks() if clocks is None else clocks,
        )  # fmt: skip
        self._active = self._processor.active
        self._name = schema.name
        self._at_most_once = schema.delivery == "at-most-once"
        self._limiter: ConcurrencyLimiter | None = None
        """``None``: the broker delivers no more requests than may run at a time."""
        if self._at_most_once or schema.fetch_ahead > 0:
            self._limiter = ConcurrencyLimiter(schema.concurrency, self._start_queued)
            self._processor.notifies_owner = True
        self._drain: Drain | None = None
        self._maintenance: asyncio.TimerHandle | None = None

    @property
    def schema(self) -> ServiceSchema:
        """The service."""
        return self._processor.schema

    @property
    def active_requests(self) -> int:
        """Number of requests that are processed or queued here."""
        return len(self._active)

    @property
    def live(self) -> bool:
        """Whether requests arrive."""
        return self.consumer is not None and self.consumer.live

    def runs(self, task: asyncio.Task[object]) -> bool:
        """Tell whether this task processes one of the requests; may be called from any thread."""
        return any(active.task is task for active in list(self._active))

    async def start(self, transport: Transport) -> None:
        """Declare the queue and start to consume."""
        self.consumer = await transport.serve(self.schema.queue, self)
        self._maintenance = self._loop.call_later(MAINTENANCE_INTERVAL, self._maintain)

    def replace_handler(self, schema: ServiceSchema) -> None:
        """Run the handler of ``schema`` from the next request on; the queue and its limits stay."""
        self._processor.replace_handler(schema)
        if self._limiter is not None:
            self._limiter.limit = schema.concurrency

    async def stop_consuming(self) -> None:
        """Receive no more requests. The active ones continue."""
        if self.consumer is not None:
            await self.consumer.stop()

    async def stop(self, drain_timeout: float) -> None:
        """Stop consuming, finish the active requests within ``drain_timeout`` seconds, and requeue the others."""
        try:
            await self.stop_consuming()
            if self._active:
                self._drain = self._drain or Drain()
                self._processor.notifies_owner = True
                await self._drain.wait(drain_timeout)
            if self._active:
                _log.warning(
                    "service %r: %d calls were not finished within drain_timeout=%g s and are requeued",
                    self._name, len(self._active), drain_timeout,
                )  # fmt: skip
                await self._requeue_active()
            self._processor.close()
        finally:
            if self._maintenance is not None:
                self._maintenance.cancel()

    def abort_drain(self) -> None:
        """Make a running :meth:`stop` requeue the active requests now."""
        if self._drain is not None:
            self._drain.abort()

    async def _requeue_active(self) -> None:
        requests = list(self._active)
        for active in requests:
            self.stop_request(active, "requeued")
        # A handler that runs in a thread cannot be interrupted; all other tasks settle their requests themselves.
        tasks = [
            active.task
            for active in requests
            if active.task is not None and (active.thread_future is None or active.thread_future.cancelled())
        ]
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_GRACE)
        for active in list(self._active):
            if active.accepted:  # its handler ignores the cancellation, and no other worker will reply
                self._settle_early(active, "requeued")

    def received(self, request: IncomingRequest, /) -> None:
        """Called when a request arrives."""
        if self._at_most_once and request.redelivered:
            self._processor.settler.refuse_redelivered(request)
            return
        active = ActiveRequest(self._name, request)
        self._active.add(active)
        limiter = self._limiter
        if limiter is not None and not limiter.acquire():
            self._enqueue(active, limiter)
            return
        active.task = self._loop.create_task(self._processor.process(active), name=self._name)

    def _enqueue(self, active: ActiveRequest, limiter: ConcurrencyLimiter) -> None:
        try:
            self._processor.arm_deadline(active)  # time spent in the queue counts
        except TooLateError:
            self._active.discard(active)
            active.request.discard()
        else:
            limiter.enqueue(active)

    def _start_queued(self, active: ActiveRequest) -> None:
        active.task = self._loop.create_task(self._processor.process(active), name=self._name)

    def request_finished(self, active: ActiveRequest, /) -> None:
        """Called when the processing of a request ends."""
        if self._limiter is not None:
            self._limiter.release()
        if self._drain is not None and not self._active:
            self._drain.finish()

    def lost(self, error: ConnectionLostError, /) -> None:
        """Called when a connection or channel is lost: stops its requests, which the broker delivers again.

        An accepted request (at most once) continues, as no other worker will run it.
        """
        void = [active for active in self._active if active.request.void and not active.accepted]
        if void:
            _log.warning("service %r: %d calls are stopped and will be redelivered: %s", self._name, len(void), error)
        for active in void:
            self.stop_request(active, "void")

    def reply_refused(self, request: IncomingRequest, error: ContentRejectedError, /) -> None:
        """Called when the broker does not accept the reply to a request: replies with the error instead."""
        self._processor.settler.refuse_reply(request, error)

    def cancelled(self, caller: bytes, correlation_id: bytes, /) -> None:
        """Called when a caller cancels a call: stops it, or drops its request on arrival."""
        if correlation_id:
            self._cancellations.add_call(caller, correlation_id)
            self._cancelled_calls.add_call(caller, correlation_id)

    def caller_gone(self, caller: bytes, /) -> None:
        """Called when a caller has disconnected: stops its calls, or drops them on arrival, except persistent ones."""
        self._cancellations.add_caller(caller)
        self._cancelled_calls.add_caller(caller)

    def _stop_cancelled(self, cancellations: CancellationBatch) -> None:
        for active in list(self._active):
            if active.request in cancellations:
                self._cancelled_calls.discard(active.request)  # it is here: nothing else is to be dropped
                self.stop_request(active, "cancelled")

    def _maintain(self) -> None:
        self._maintenance = self._loop.call_later(MAINTENANCE_INTERVAL, self._maintain)
        self._deduplication.purge()
        self._cancelled_calls.purge()
        self._processor.settler.log_unreadable()
        probed: set[bytes] = set()
        for active in list(self._active):
            request = active.request
            if not active.probe_due:
                active.probe_due = True
            elif request.caller not in probed and not (request.void or request.persistent or active.settled):
                probed.add(request.caller)
                request.probe()

    def stop_request(self, active: ActiveRequest, reason: StopReason, /) -> None:
        """Stop an active request; without effect if it is stopped already."""
        if active.stop_reason is not None:
            return
        execution = active.execution
        if execution is not None and execution.has_followers:
            if not active.settled:
                self._settle_early(active, reason)  # its handler continues for the requests that follow it
            active.ends_at = execution.followers_end_at
            return
        active.stop_reason = reason
        active.cancelled = True
        if active.task is None:
            self._drop_queued(active, reason)
        elif not active.started:
            pass  # a task that is cancelled before its first step would never settle its request
        elif active.thread_future is None:
            active.task.cancel()
        elif not active.thread_future.cancel() and reason == "requeued":
            self._settle_early(active, reason)  # its thread cannot be interrupted; another worker may run it meanwhile

    def _drop_queued(self, active: ActiveRequest, reason: StopReason) -> None:
        assert self._limiter is not None
        self._settle_early(active, reason)
        self._limiter.remove(active)
        self._processor.disarm_deadline(active)
        self._active.discard(active)
        if self._drain is not None and not self._active:
            self._drain.finish()

    def _settle_early(self, active: ActiveRequest, reason: StopReason) -> None:
        self._processor.settler.settle_stopped(active, reason)
        active.settled = True
