"""Processes one request: from the first step of its task until it is settled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._clock import monotonic
from rabibridge_core._concurrency.deadlines import DeadlineWheel
from rabibridge_core._observability.call_context import current_call_var
from rabibridge_core._protocol.headers import IDEMPOTENCY_KEY, KEY_LEARNED, RESENT
from rabibridge_core._protocol.large_bodies import LargeBodyError, off_loop
from rabibridge_core._protocol.payloads import read_idempotency_key
from rabibridge_core._server.access import gate_of
from rabibridge_core._server.admission import check_time_left, may_refuse
from rabibridge_core._server.caller_clocks import UnprovenTime
from rabibridge_core._server.delayed_start import hold
from rabibridge_core._server.exceptions import ArgumentsRefusedError, TooLateError, key_refused
from rabibridge_core._server.executors import is_signature_error
from rabibridge_core._server.forwarding import repeat_reply
from rabibridge_core._server.observed import tell_begun, tell_dropped, tell_ended, tell_running
from rabibridge_core._server.repeated_calls import RepeatedCalls
from rabibridge_core._server.run_times import RunTimes
from rabibridge_core._server.statistics import ServiceStatistics
from rabibridge_core._server.stream_sessions import StreamSessions
from rabibridge_core._server.wait_limit import wait_limit_of
from rabibridge_core._server.ways import executor_of, ways_of
from rabibridge_core.plugins.observing import skips_request

if TYPE_CHECKING:
    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._server.active_request import ActiveRequest, ProcessorOwner
    from rabibridge_core._server.caller_clocks import CallerClocks
    from rabibridge_core._server.cancelled_calls import CancelledCalls
    from rabibridge_core._server.deduplication import DeduplicationCache
    from rabibridge_core._server.process_scope import ProcessScope
    from rabibridge_core._server.rate_limiter import RateLimiter
    from rabibridge_core._server.ways import Executor
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.errors import RunTimeoutError
    from rabibridge_core.plugins.call_hooks import CallHooks
    from rabibridge_core.transport import IncomingRequest

__all__ = ["RequestProcessor"]


class RequestProcessor:
    """Processes the requests of one service: from its first step on, it owns the life of a request.

    :meth:`process` settles its request exactly once, unless that was done before or the request is void, and gives its
    place back. It raises nothing, whatever is raised at whatever step: by a hook, while the arguments are decoded or
    validated, by the handler, by the class of its exception, while the reply is encoded or published.
    """

    def __init__(
        self,
        schema: ServiceSchema,
        codec: Codec,
        hooks: CallHooks,
        *,
        owner: ProcessorOwner,
        deduplication: DeduplicationCache[ActiveRequest],
        cancelled_calls: CancelledCalls,
        clocks: CallerClocks,
        process: ProcessScope | None = None,
    ) -> None:
        """Process requests of ``schema``; must be made on the running event loop.

        Args:
            schema: the service.
            codec: decodes arguments and encodes results.
            hooks: observe the requests.
            owner: stops requests, and is called when they are finished.
            deduplication: the idempotency keys of the service.
            cancelled_calls: the requests to drop on arrival.
            clocks: the clocks of callers.
            process: what lives longer than a call, for handlers with providers; ``None``: nothing.
        """
        self.schema = schema
        self.sessions = StreamSessions() if schema.queue.streams else None
        """The streams and uploads; ``None``: the service has none."""
        self._decode, self.settler = ways_of(schema, codec, self.sessions)
        self.active: set[ActiveRequest] = set()
        """The requests that are queued or processed. A request is removed by the last step of its task."""
        self.notifies_owner = False  # whether to call ProcessorOwner.request_finished
        self.rate: RateLimiter | None = None
        """Limits how many calls start in a time; ``None``: nothing does."""
        self.statistics = ServiceStatistics()
        self.statistics.use(schema)
        self._repeated = RepeatedCalls(deduplication, streams=self.sessions is not None)
        self._clocks, self._codec, self._cancelled_calls = clocks, codec, cancelled_calls
        self._at_most_once, self._may_refuse = schema.delivery == "at-most-once", may_refuse(schema)
        self._run_times: RunTimes | None = None  # until a run is wasted, none is measured
        self._process, self._gate = process, gate_of(schema)
        self._executor = self._executor_of(schema)
        self._prepared: Executor | None = None
        self._retired: list[Executor] = []
        self._observer, self.owner, self._loop = hooks.server, owner, asyncio.get_running_loop()
        self._deadlines = DeadlineWheel["ActiveRequest"](
            self._loop, lambda one: self.owner.stop_request(one, "expired")
        )
        self._wait_limit = wait_limit_of(schema, self._clocks, self._refuse_waiting)

    @property
    def problem(self) -> str:
        """Why no handler can be started now, as far as it is known; else empty."""
        return self._executor.problem

    def replace_handler(self, schema: ServiceSchema) -> None:
        """Run the handler of ``schema`` from the next request on. What the old one was given finishes."""
        old, self._executor = self._executor, self._prepared or self._executor_of(schema)
        self._prepared = None
        self.schema, self._gate = schema, gate_of(schema)
        self._may_refuse, self._run_times = may_refuse(schema), None  # another function, another time
        self._wait_limit = wait_limit_of(schema, self._clocks, self._refuse_waiting)
        self.settler.use(schema)
        self.statistics.use(schema)
        old.close(drop_waiting=False)
        self._retired = [each for each in (*self._retired, old) if not each.finished]

    def _refuse_waiting(self, active: ActiveRequest) -> None:
        self.owner.stop_request(active, "waited")

    def _executor_of(self, schema: ServiceSchema) -> Executor:
        return executor_of(schema, self._process, self._codec, self.sessions, self._overran)

    async def prepare(self, schema: ServiceSchema | None = None) -> None:
        """Start what must be there before the first call, or before :meth:`replace_handler`; raise why it cannot be."""
        if schema is None:
            await self._executor.start()
            return
        executor = self._executor_of(schema)
        self._retired.append(executor)  # until it is used, it is closed together with the others
        await executor.start()
        self._retired.remove(executor)
        self._prepared = executor

    def close(self) -> None:
        """Let the threads end, cancel the work that waits for one, and disarm all deadlines."""
        for executor in (self._executor, *self._retired):
            executor.close(drop_waiting=True)
        self._deadlines.clear()
        if self._wait_limit is not None:
            self._wait_limit.clear()

    async def wait_closed(self) -> None:
        """Wait, after :meth:`close`, until child processes are gone."""
        for executor in (self._executor, *self._retired):
            await executor.wait_closed()

    def arm_deadline(self, active: ActiveRequest) -> bool:
        """Stop the request when the time of its caller is over; return whether it must be held before it runs.

        Raises:
            TooLateError: it is over already.
        """
        request = active.request
        time_left = request.time_left
        if (deadline := request.deadline) is not None:
            now = self._clocks.now()
            if time_left is None:
                time_left = deadline - now
            else:
                time_left = self._clocks.remaining(request.caller, time_left, deadline, now)
        if time_left is not None:
            if time_left <= 0:
                raise TooLateError
            active.ends_at = monotonic() + time_left
            if self._wait_limit is not None:
                self._wait_limit.check(active, time_left)
            active.deadline_slot = self._deadlines.add(active, time_left)
        return type(time_left) is UnprovenTime

    def drop(self, active: ActiveRequest) -> None:
        """Forget a request that was stopped before it was processed."""
        if (slot := active.deadline_slot) is not None:
            self._deadlines.discard(active, slot)
        self.active.discard(active)
        if active.stop_reason is not None:
            outcome = self.statistics.stopped(active.stop_reason)
            tell_dropped(self._observer, active.service, active.request, active.received_at, outcome)

    def refuse_unstarted(self, active: ActiveRequest, error: BaseException) -> None:
        """Settle a request that cannot be queued, or no longer."""
        if (slot := active.deadline_slot) is not None:
            self._deadlines.discard(active, slot)
        self.active.discard(active)
        outcome = self.statistics.ended_call(active, error, False)
        self.settler.settle_error(active, error, ran=False, shutting_down=False)
        tell_dropped(self._observer, active.service, active.request, active.received_at, outcome)

    def refuse_redelivered(self, request: IncomingRequest) -> None:
        """Settle a redelivered request of an at-most-once service."""
        tell_dropped(self._observer, self.schema.name, request, monotonic(), "dead")
        self.statistics.died(self.settler.refuse_redelivered(request))

    def _overran(self, active: ActiveRequest, error: RunTimeoutError) -> None:
        """Tell the caller of a call that it ran for too long, and stop it; a function in a thread runs on."""
        self.settler.settle_overrun(active, error)
        self._repeated.end(active)
        self.owner.stop_request(active, "overran")

    async def process(self, active: ActiveRequest) -> None:
        """Run the handler and settle the request."""
        current_call_var.set(active)
        if active.task is None:  # an eager task: create_task() has not returned yet
            active.task = asyncio.current_task()
        request, observer = active.request, self._observer
        ran: bool | None = False
        error: BaseException | None = None
        times, started = self._run_times, 0.0
        try:
            if observer is not None and (skips_request(observer, request) or not tell_begun(observer, active)):
                observer = None
            active.interruptible = True
            reason = active.stop_reason
            if reason is None and self._cancelled_calls.any and self._cancelled_calls.discard(request):
                reason = active.stop_reason = "cancelled"
            if reason is not None:
                self.settler.settle_stopped(active, reason)
                error = asyncio.CancelledError(reason)
                return
            if active.ends_at is None:
                if (request.time_left is not None or request.deadline is not None) and self.arm_deadline(active):
                    await hold(request, self._clocks)
            elif monotonic() >= active.ends_at:  # it has waited here, and the event loop was held
                raise TooLateError
            if self._gate is not None:
                await self._gate.check(request)
            if request.redelivered and (error := self.settler.dead_letter_exhausted(request)) is not None:
                return
            try:
                args, kwargs = self._decode(self._codec, request)
            except LargeBodyError:
                args, kwargs = await off_loop(self._decode, self._codec, request)
            if self._at_most_once:
                if IDEMPOTENCY_KEY in request.headers:
                    if request.headers.get(KEY_LEARNED) is not True:
                        raise key_refused(self.schema.name)
                    if request.headers.get(RESENT) is True:
                        error = self.settler.refuse_redelivered(request)
                        return
            elif (key := request.headers.get(IDEMPOTENCY_KEY)) is not None:
                reply = await self._repeated.reply_of_another(active, read_idempotency_key(key), self.owner)
                if reply is not None:
                    error = repeat_reply(self._codec, request, reply, self.schema.name)
                    ran = None
                    return
            if self.rate is not None:
                await self.rate.admit(active)
            if times is not None:
                started = monotonic()
                if active.ends_at is not None and active.ends_at - started < times.least:
                    check_time_left(active, times, self._repeated, started)
            if self._at_most_once:
                request.accept()
                active.accepted = True
            ran = True
            if observer is not None:
                tell_running(active)
            if (inline := self._executor.inline) is not None:
                try:
                    coroutine = inline(*args, **kwargs)
                except TypeError as error_of_call:
                    if is_signature_error(error_of_call):
                        raise ArgumentsRefusedError from error_of_call
                    raise
                result = await coroutine
            else:
                result = await self._executor.run(args, kwargs, active)
            error = self.settler.settle_result(active, result)
            if times is not None and error is None and active.stop_reason is None:
                times.ended((now := monotonic()) - started)
                if now >= times.idle_at and times is self._run_times:
                    self._run_times = None
        except BaseException as raised:
            # Not isinstance(), which asks the exception for its class.
            if issubclass(type(raised), GeneratorExit) and self._loop.is_closed():
                raise  # not raised by the handler: the task is destroyed together with its loop
            error = raised
            if ran and active.stop_reason == "expired" and self._may_refuse:
                now, self._run_times = monotonic(), self._run_times or RunTimes(monotonic())
                self._run_times.cut(now - started if started else 0.0, now)
            self.settler.settle_error(active, raised, ran=ran is True, shutting_down=self.owner.shutting_down)
        finally:
            active.over = True
            if (slot := active.deadline_slot) is not None:
                self._deadlines.discard(active, slot)
            if active.execution is not None:
                self._repeated.end(active)
            self.active.discard(active)
            outcome = self.statistics.ended_call(active, error, ran)
            if self.notifies_owner:
                active.outcome = outcome
                self.owner.request_finished(active)
            if observer is not None:
                tell_ended(active, outcome, error)
            # Breaks two reference cycles: exception and frame; task, context and active request.
            error = active.task = active.thread_future = None
