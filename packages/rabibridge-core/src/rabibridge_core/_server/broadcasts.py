"""The broadcasts of one service on one worker: they run beside its calls, one at a time."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from rabibridge_core._clock import monotonic
from rabibridge_core._protocol.headers import RECEIVED, WORKER, WORKER_ID
from rabibridge_core._protocol.identity import sender_of
from rabibridge_core._reporting.error_text import printable
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core._server.active_request import ActiveRequest
from rabibridge_core._server.cancelled_calls import CancelledCalls
from rabibridge_core._server.concurrency import ConcurrencyLimiter
from rabibridge_core._server.deduplication import DeduplicationCache
from rabibridge_core._server.drain import Drain
from rabibridge_core._server.processor import RequestProcessor
from rabibridge_core._server.stopping import RequestStopper
from rabibridge_core.errors import QueueFullError
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._server.active_request import StopReason
    from rabibridge_core._server.caller_clocks import CallerClocks
    from rabibridge_core._server.process_scope import ProcessScope
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.plugins.call_hooks import CallHooks
    from rabibridge_core.transport import Headers, IncomingBroadcast

__all__ = ["MAX_WAITING", "BroadcastLane", "Broadcasts"]

_log = get_logger(__name__)
MAX_WAITING = 64
"""How many broadcasts of a service wait on a worker for the one that runs; more are answered with an error."""
_SEEN_MAX = 4096
"""How many broadcasts are remembered, so that one that is sent again does not run again."""
_NAME_MAX = 200


class BroadcastLane:
    """Runs the broadcasts of one service, one at a time, in addition to the calls that ``fetch_size`` allows.

    They take no place of a call: a function that is being called may send a broadcast to its own service and wait for
    the answer of its own worker. And they are no way round the limit: however many are sent, one more function runs
    than ``fetch_size`` says, and :data:`MAX_WAITING` wait.
    """

    def __init__(
        self,
        schema: ServiceSchema,
        codec: Codec,
        hooks: CallHooks,
        *,
        worker: str,
        clocks: CallerClocks,
        shutting_down: Callable[[], bool],
        clock: Callable[[], float] = monotonic,
        process: ProcessScope | None = None,
        calls: RequestProcessor | None = None,
        cancelled_calls: CancelledCalls | None = None,
    ) -> None:
        """Run broadcasts of ``schema``; must be made on the running event loop.

        Args:
            schema: the service.
            codec: decodes arguments and encodes results.
            hooks: called when a broadcast is received and when it is finished.
            worker: the name of this worker.
            clocks: the clocks of callers.
            shutting_down: tells whether the event loop has cancelled all of its tasks.
            clock: measures ages, in seconds.
            process: what the handler needs that lives longer than a call; ``None``: nothing.
            calls: processes the calls of the service, whose rate holds for broadcasts as well; ``None``: there is none.
            cancelled_calls: what was cancelled before it arrived here, to drop it on arrival; ``None``: nothing.
        """
        self._loop = asyncio.get_running_loop()
        self._name = schema.name
        self._shutting_down = shutting_down
        self._limiter = ConcurrencyLimiter(1, self._start)
        own: Headers = {WORKER: printable(worker)[:_NAME_MAX], WORKER_ID: secrets.token_urlsafe(9)}
        self._announcement = Reply(b"", None, None, {**own, RECEIVED: True})
        # A worker that stops cannot leave a broadcast to another one: it answers as an at-most-once service does.
        self.processor = RequestProcessor(
            _as_broadcast(schema), codec, hooks,
            owner=self, deduplication=DeduplicationCache(clock), clocks=clocks, process=process,
            cancelled_calls=CancelledCalls(clock) if cancelled_calls is None else cancelled_calls,
        )  # fmt: skip
        self.processor.rate = None if calls is None else calls.rate
        self.processor.settler.add_headers(own)
        self.processor.notifies_owner = True
        self._stopper = RequestStopper(self.processor, self._drop_queued)
        self._drain = Drain()
        self._seen: dict[tuple[bytes, bytes, str], None] = {}

    @property
    def shutting_down(self) -> bool:
        """Whether the event loop has cancelled all of its tasks, because its program ends."""
        return self._shutting_down()

    def use(self, schema: ServiceSchema) -> None:
        """Run the handler of ``schema`` from the next broadcast on."""
        self.processor.replace_handler(_as_broadcast(schema))

    def received(self, request: IncomingBroadcast) -> None:
        """Tell the caller that this worker has the broadcast, and run it, unless that was done before."""
        key = (request.caller, request.correlation_id, request.user)
        if key in self._seen:
            request.announce(self._announcement)
            request.discard()
            return
        self._seen[key] = None
        if len(self._seen) > _SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        active = ActiveRequest(self._name, request)
        if len(self.processor.active) > MAX_WAITING:
            error = QueueFullError(f"{MAX_WAITING} broadcasts of {self._name!r} wait on this worker already")
            self.processor.settler.settle_error(active, error, ran=False, shutting_down=False)
            return
        request.announce(self._announcement)
        self.processor.active.add(active)
        if self._limiter.acquire():
            self._start(active)
            return
        try:
            self.processor.arm_deadline(active)  # time spent here counts
        except Exception as error:  # noqa: BLE001 - what a request says about its time must not harm the connection
            self.processor.active.discard(active)
            self.processor.settler.settle_error(active, error, ran=False, shutting_down=False)
        else:
            self._limiter.enqueue(active)

    def _start(self, active: ActiveRequest) -> None:
        active.run_by(self._loop.create_task(self.processor.process(active), name=f"{self._name} (broadcast)"))

    def request_finished(self, active: ActiveRequest, /) -> None:
        """Called when one has ended."""
        self._limiter.release()
        self._drain.check(self.processor.active)

    def stop_request(self, active: ActiveRequest, reason: StopReason, /) -> None:
        """Stop one; without effect if it is stopped already. It raises nothing."""
        self._stopper.stop_request(active, reason)

    def _drop_queued(self, active: ActiveRequest) -> None:
        self._limiter.remove(active)
        self.processor.drop(active)
        self._drain.check(self.processor.active)

    def cancelled(self, caller: bytes, correlation_id: bytes | None = None, user: str = "") -> None:
        """Stop what its caller no longer waits for: one broadcast, or all of a caller that is gone."""
        for active in list(self.processor.active):
            request = active.request
            if request.caller != caller or (correlation_id is None and request.persistent):
                continue
            if correlation_id is None or (request.correlation_id == correlation_id and sender_of(request) == user):
                self._stopper.stop_request(active, "cancelled")

    async def stop(self, drain_timeout: float) -> int:
        """Finish those that are active within ``drain_timeout`` seconds, and end the others with an error.

        Returns:
            The number of those that were not finished.
        """
        if (rate := self.processor.rate) is not None:  # a worker that stops has no more tokens
            for active in [one for one in rate.waiting if one in self.processor.active]:
                self.stop_request(active, "requeued")
        if self.processor.active:
            await self._drain.wait(drain_timeout)
        unfinished = len(self.processor.active)
        if unfinished:
            what = "service %r: %d broadcasts were not finished when it stopped; their callers are told"
            _log.warning(
                what, self._name, unfinished,
                extra=log_fields("service.broadcasts_unfinished", service=self._name, count=unfinished),
            )  # fmt: skip
            await self._stopper.requeue_all()
        self.processor.close()
        await self.processor.wait_closed()
        self.processor.settler.failures.summarize()
        return unfinished

    def abort_drain(self) -> None:
        """Make :meth:`stop`, running or called later, end what is active at once."""
        self._drain.abort()


class Broadcasts:
    """The lane of a service, which is made for its first broadcast: most services never get one."""

    __slots__ = ("_lane", "_make")

    def __init__(self, make: Callable[[ServiceSchema], BroadcastLane]) -> None:
        """Make the lane by ``make(schema)``."""
        self._make = make
        self._lane: BroadcastLane | None = None

    @property
    def active(self) -> Collection[ActiveRequest]:
        """The broadcasts that run or wait."""
        return () if self._lane is None else self._lane.processor.active

    @property
    def ended(self) -> int:
        """Number of broadcasts that have ended."""
        return 0 if self._lane is None else self._lane.processor.statistics.ended

    def received(self, request: IncomingBroadcast, schema: ServiceSchema) -> None:
        """See :meth:`BroadcastLane.received`."""
        if self._lane is None:
            self._lane = self._make(schema)
        self._lane.received(request)

    def use(self, schema: ServiceSchema) -> None:
        """See :meth:`BroadcastLane.use`."""
        if self._lane is not None:
            self._lane.use(schema)

    def cancelled(self, caller: bytes, correlation_id: bytes | None = None, user: str = "") -> None:
        """See :meth:`BroadcastLane.cancelled`."""
        if self._lane is not None:
            self._lane.cancelled(caller, correlation_id, user)

    def start_stopping(self, drain_timeout: float) -> asyncio.Task[int] | None:
        """Start :meth:`BroadcastLane.stop`; ``None``: there is nothing to stop."""
        return None if self._lane is None else asyncio.get_running_loop().create_task(self._lane.stop(drain_timeout))

    def abort_drain(self) -> None:
        """See :meth:`BroadcastLane.abort_drain`."""
        if self._lane is not None:
            self._lane.abort_drain()


def _as_broadcast(schema: ServiceSchema) -> ServiceSchema:
    # One thread is enough for a function that runs in threads, of which it must have one of its own.
    return replace(
        schema, delivery="at-most-once", idempotent=False, fetch_size=1, deadline_admission=False, max_wait=None
    )
