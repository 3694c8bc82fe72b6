"""One service on one worker: every request that arrives is answered, given back, or known to be void."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from rabibridge_core._server.active_request import ActiveRequest, StopReason
from rabibridge_core._server.cancelled_calls import CancelledCalls
from rabibridge_core._server.deduplication import DeduplicationCache
from rabibridge_core._server.exceptions import TooLateError
from rabibridge_core._server.executors import HandlerExecutor
from rabibridge_core._server.processor import RequestProcessor

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.errors import ConnectionLostError
    from rabibridge_core.plugins.call_hooks import CallHooks
    from rabibridge_core.transport import Consumer, IncomingRequest, Transport

__all__ = ["MAINTENANCE_INTERVAL", "ServiceRunner"]

_log = logging.getLogger(__name__)
_CANCEL_GRACE = 5.0
"""How long cancelled handlers may take to clean up when a service stops, in seconds."""
MAINTENANCE_INTERVAL = 5.0
"""How often a service asks whether the callers of what has been in hand for so long are still there, in seconds."""


class ServiceRunner:
    """Takes the requests of one service and answers them, each in a task of its own.

    At least once: a request is settled after its reply was sent. At most once: it is settled before its handler
    begins. Where more may arrive than may run at a time, the others wait here, in the order in which they came.
    """

    def __init__(
        self, schema: ServiceSchema, codec: Codec, hooks: CallHooks, *, clock: Callable[[], float] = monotonic
    ) -> None:
        """Serve ``schema``; must be made on the running event loop.

        Args:
            schema: the service; only its function may change later.
            codec: how arguments and results become bytes.
            hooks: what to tell of each request.
            clock: tells how old remembered answers and cancellations are, in seconds.
        """
        self.consumer: Consumer | None = None
        self._loop = asyncio.get_running_loop()
        self._unwanted = unwanted = CancelledCalls(clock)
        answers = DeduplicationCache[ActiveRequest](clock)
        self._answering = RequestProcessor(
            schema, codec, hooks, stop=self._stop, finished=self._finished, answers=answers, unwanted=unwanted
        )
        self._answer = self._answering.answer
        self._in_hand = self._answering.in_hand
        self._name = schema.name
        self._cancelled: set[tuple[bytes, bytes]] = set()
        self._gone: set[bytes] = set()
        self._once = self._answering.once
        self._in_turn = self._answering.watched = self._once or schema.fetch_ahead > 0
        self._begun = 0
        self._waiting: deque[ActiveRequest] = deque()
        self._idle: asyncio.Event | None = None
        self._draining: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def schema(self) -> ServiceSchema:
        """The service."""
        return self._answering.schema

    @property
    def in_hand(self) -> int:
        """How many requests are being answered, or wait for their turn here."""
        return len(self._in_hand)

    @property
    def live(self) -> bool:
        """Whether requests arrive."""
        return self.consumer is not None and self.consumer.live

    def runs(self, task: asyncio.Task[object]) -> bool:
        """Tell whether this task runs the handler for one of its requests; may be asked from any thread."""
        return any(execution.task is task for execution in list(self._in_hand))

    async def start(self, transport: Transport) -> None:
        """Declare the queue and take requests."""
        self.consumer = await transport.serve(self.schema.queue, self)
        self._timer = self._loop.call_later(MAINTENANCE_INTERVAL, self._look_around)

    def swap(self, schema: ServiceSchema) -> None:
        """Run another function from the next request on; the queue and its limits stay."""
        self._answering.use(HandlerExecutor(schema), schema)

    async def halt(self) -> None:
        """Take no more requests; those in hand go on."""
        if self.consumer is not None:
            await self.consumer.stop()

    async def stop(self, drain_timeout: float) -> None:
        """Take no more requests, finish those in hand within ``drain_timeout`` seconds, give the rest back."""
        try:
            await self.halt()
            await self._wait_until_idle(drain_timeout)
            if self._in_hand:
                _log.warning(
                    "service %r: %d calls were not finished within %g s and go back to the queue",
                    self._name, len(self._in_hand), drain_timeout,
                )  # fmt: skip
                await self._give_back()
            self._answering.close()
        finally:
            if self._timer is not None:
                self._timer.cancel()

    async def _wait_until_idle(self, limit: float) -> None:
        try:
            async with asyncio.timeout(limit) as self._draining:
                if self._in_hand:
                    self._idle = self._idle or asyncio.Event()
                    self._answering.watched = True
                    await self._idle.wait()
        except TimeoutError:
            pass
        finally:
            self._draining = None

    def hurry(self) -> None:
        """End a :meth:`stop` that waits for calls in hand: they go back to the queue now."""
        if self._draining is not None:
            self._draining.reschedule(self._loop.time())

    async def _give_back(self) -> None:
        in_hand = list(self._in_hand)
        for execution in in_hand:
            self._stop(execution, "requeued")
        # A thread that is at work cannot be waited for; all else settles its request in its own task.
        stopped = [one for one in in_hand if one.thread is None or one.thread.cancelled()]
        tasks = [one.task for one in stopped if one.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_GRACE)
        for execution in list(self._in_hand):
            if execution.accepted:  # its handler does not let itself be stopped, and nobody else answers
                self._settle_now(execution, "requeued")

    def received(self, request: IncomingRequest, /) -> None:
        """Answer a request."""
        if self._once and request.redelivered:
            self._answering.refuse_second_run(request)
            return
        execution = ActiveRequest(self._name, request)
        self._in_hand.add(execution)
        if self._in_turn and not self._takes_turn(execution):
            return
        execution.task = self._loop.create_task(self._answer(execution), name=self._name)

    def _takes_turn(self, execution: ActiveRequest) -> bool:
        """Tell whether a request may begin; otherwise it waits for its turn, and its time goes on."""
        if self._begun < self.schema.concurrency:
            self._begun += 1
            return True
        try:
            self._answering.take_time(execution)
        except TooLateError:
            self._in_hand.discard(execution)
            execution.request.discard()
        else:
            self._waiting.append(execution)
        return False

    def _finished(self, execution: ActiveRequest) -> None:
        if self._in_turn:
            self._begun -= 1
            while self._waiting and self._begun < self.schema.concurrency:
                self._begun += 1
                following = self._waiting.popleft()
                following.task = self._loop.create_task(self._answer(following), name=self._name)
        if self._idle is not None and not self._in_hand:
            self._idle.set()

    def lost(self, error: ConnectionLostError, /) -> None:
        """Stop what is void: the broker gives it to some worker again, here or elsewhere.

        What was settled before it began goes on to its end, as no other worker runs it.
        """
        void = [execution for execution in self._in_hand if execution.request.void and not execution.accepted]
        if void:
            _log.warning("service %r: %d calls in hand are void: %s", self._name, len(void), error)
        for execution in void:
            self._stop(execution, "void")

    def cancelled(self, caller: bytes, correlation_id: bytes, /) -> None:
        """Stop this call where it is in hand, and do not begin it where it has yet to arrive."""
        if correlation_id:
            self._forget_soon()
            self._cancelled.add((caller, correlation_id))
            self._unwanted.add_call(caller, correlation_id)

    def caller_gone(self, caller: bytes, /) -> None:
        """Stop the calls of this caller and do not begin others of it, but for those that are persistent."""
        self._forget_soon()
        self._gone.add(caller)
        self._unwanted.add_caller(caller)

    def _forget_soon(self) -> None:
        # All that are told within one turn of the loop are looked for at once: a caller may cancel a thousand.
        if not self._cancelled and not self._gone:
            self._loop.call_soon(self._forget)

    def _forget(self) -> None:
        cancelled, self._cancelled = self._cancelled, set()
        gone, self._gone = self._gone, set()
        ids = {correlation_id for _, correlation_id in cancelled}
        for execution in list(self._in_hand):
            request = execution.request
            if (request.correlation_id in ids and (request.caller, request.correlation_id) in cancelled) or (
                request.caller in gone and not request.persistent
            ):
                self._stop(execution, "cancelled")

    def _look_around(self) -> None:
        self._timer = self._loop.call_later(MAINTENANCE_INTERVAL, self._look_around)
        self._answering.look_around()
        asked: set[bytes] = set()
        for execution in list(self._in_hand):
            request = execution.request
            if not execution.aged:
                execution.aged = True
            elif request.caller not in asked and not (request.void or request.persistent or execution.settled):
                asked.add(request.caller)
                request.probe()

    def _stop(self, execution: ActiveRequest, fate: StopReason) -> None:
        """Stop a request in hand. Once only: the first fate is the one that it has."""
        if execution.stop_reason is not None:
            return
        run = execution.run
        if run is not None and run.has_followers:
            if not execution.settled:
                self._settle_now(execution, fate)  # the handler goes on for those that joined
            execution.ends_at = run.followers_end_at
            return
        execution.stop_reason = fate
        execution.cancelled = True
        if execution.task is None:
            self._settle_now(execution, fate)
            self._leave_waiting(execution)
        elif not execution.started:
            pass  # a task that is cancelled before its first step never gets to settle its request
        elif execution.thread is None:
            execution.task.cancel()
        elif not execution.thread.cancel() and fate == "requeued":
            self._settle_now(execution, fate)  # its thread cannot be stopped; another worker may start it again

    def _settle_now(self, execution: ActiveRequest, fate: StopReason) -> None:
        self._answering.settle_stopped(execution, fate)
        execution.settled = True

    def _leave_waiting(self, execution: ActiveRequest) -> None:
        self._waiting.remove(execution)
        self._answering.forget_time(execution)
        self._in_hand.discard(execution)
        if self._idle is not None and not self._in_hand:
            self._idle.set()
