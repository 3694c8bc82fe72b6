"""One request, from the first step of its task to the moment when it is settled."""

from __future__ import annotations

import asyncio
import logging
import time
from time import monotonic
from typing import TYPE_CHECKING, Any

from rabibridge_core._concurrency.deadlines import DeadlineWheel, time_remaining
from rabibridge_core._observability.call_context import current_call_var
from rabibridge_core._protocol.headers import IDEMPOTENCY_KEY, IDEMPOTENT
from rabibridge_core._protocol.payloads import (
    StoredReply,
    UnreadableRequestError,
    decode_request,
    encode_failure,
    encode_result,
    read_idempotency_key,
    readdress_reply,
)
from rabibridge_core._protocol.remote_errors import (
    DEAD,
    EXECUTION,
    INVALID_ARGUMENTS,
    REDELIVERED,
    REQUEST_REJECTED,
    RESULT_UNSENDABLE,
)
from rabibridge_core._server.deduplication import DeduplicationCache, SharedExecution, digest_of
from rabibridge_core._server.executors import ArgumentsRefusedError, HandlerExecutor, TooLateError, invoke
from rabibridge_core.errors import (
    CallError,
    ConnectionLostError,
    ContentRejectedError,
    RemoteExecutionError,
    SerializationError,
)
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._server.active_request import ActiveRequest, StopReason
    from rabibridge_core._server.cancelled_calls import CancelledCalls
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.plugins.call_hooks import CallHooks
    from rabibridge_core.transport import Headers, IncomingRequest

__all__ = ["RequestProcessor"]

_log = logging.getLogger(__name__)
_CUT = 1.0
"""How much less time than it was sent with a call may have here before that is worth a line in the log, in seconds."""
_new_tuple = tuple.__new__  # half of the time that the constructor of a NamedTuple takes
_IDEMPOTENT: Headers = {IDEMPOTENT: True}


class RequestProcessor:
    """Answers the requests of one service.

    ``answer()`` settles its request in every case, but for those that are settled elsewhere or void; it raises nothing,
    whatever the handler raises.
    """

    def __init__(
        self,
        schema: ServiceSchema,
        codec: Codec,
        hooks: CallHooks,
        *,
        stop: Callable[[ActiveRequest, StopReason], None],
        finished: Callable[[ActiveRequest], None],
        answers: DeduplicationCache,
        unwanted: CancelledCalls,
    ) -> None:
        """Answer requests of ``schema``; must be made on the running event loop.

        Args:
            schema: the service.
            codec: how arguments and results become bytes.
            hooks: what to tell of each request.
            stop: is to stop a request that is in hand.
            finished: is told of each request that was answered or given up, while :attr:`watched`.
            answers: what is known of idempotency keys.
            unwanted: what is known of requests that nobody waits for.
        """
        self.schema = schema
        self.handler = HandlerExecutor(schema)
        self.answers = answers
        self._unwanted = unwanted
        self.once = schema.delivery == "at-most-once"
        self.in_hand: set[ActiveRequest] = set()
        """What is being answered; a request leaves it with the last step of its task."""
        self.watched = self.once
        self._codec = codec
        self._hooks = hooks
        self._stop = stop
        self._finished = finished
        self._unreadable = 0
        self._told_of_cut = False
        self._loop = asyncio.get_running_loop()
        self._deadlines = DeadlineWheel["ActiveRequest"](self._loop, self._expired)
        self._marks = _IDEMPOTENT if schema.idempotent else None

    def use(self, handler: HandlerExecutor, schema: ServiceSchema) -> None:
        """Run another function from the next request on."""
        old, self.handler = self.handler, handler
        self.schema = schema
        self._marks = _IDEMPOTENT if schema.idempotent else None
        old.close(drop_waiting=False)

    def close(self) -> None:
        """Let the threads end, drop what waits for one, and forget all deadlines."""
        self.handler.close(drop_waiting=True)
        self._deadlines.clear()

    def look_around(self) -> None:
        """Forget answers that are too old, and log what was not logged each time; called every few seconds."""
        self.answers.purge()
        if self._unreadable > 1:
            _log.warning("service %r: %d more requests were not readable", self.schema.name, self._unreadable - 1)
        self._unreadable = 0

    def _expired(self, execution: ActiveRequest) -> None:
        request = execution.request
        if not self._told_of_cut and request.time_left is not None and request.deadline is not None:
            given = (execution.ends_at or 0.0) - execution.taken_at
            if request.time_left - given > _CUT:
                self._told_of_cut = True
                _log.warning(
                    "service %r: a call is stopped after %.3f s, although %.3f s were left to it when it was sent: it "
                    "had waited, or this machine's clock is ahead of its caller's",
                    self.schema.name, given, request.time_left,
                )  # fmt: skip
        self._stop(execution, "expired")

    def take_time(self, execution: ActiveRequest) -> None:
        """Let the time that the caller gives begin.

        Raises:
            TooLateError: it is over.
        """
        request = execution.request
        time_left = time_remaining(request.time_left, request.deadline, time.time())
        if time_left is not None:
            if time_left <= 0:
                raise TooLateError
            execution.taken_at = now = monotonic()
            execution.ends_at = now + time_left
            execution.slot = self._deadlines.add(execution, time_left)

    def forget_time(self, execution: ActiveRequest) -> None:
        """Disarm the deadline of a request that has come to its end."""
        if execution.slot is not None:
            self._deadlines.discard(execution, execution.slot)

    async def answer(self, execution: ActiveRequest) -> None:
        """Run the handler and send its answer."""
        current_call_var.set(execution)
        request, hooks = execution.request, self._hooks
        told = hooks.active
        started = hooks.request_received(self.schema.name, request.correlation_id, request.headers) if told else 0.0
        error: BaseException | None = None
        try:
            execution.started = True
            if execution.fate is None and self._unwanted.any and self._unwanted.takes(request):
                execution.fate = "cancelled"
            if execution.fate is not None:
                self.settle_stopped(execution, execution.fate)
                return
            if execution.ends_at is None and (request.time_left is not None or request.deadline is not None):
                self.take_time(execution)
            if request.redelivered and (error := self._given_up(request)) is not None:
                return
            args, kwargs = decode_request(self._codec, request)
            if self.once:
                if IDEMPOTENCY_KEY in request.headers:
                    raise ArgumentsRefusedError from ValueError(
                        f"service {self.schema.name!r} is at-most-once: a call that may be sent again, as idempotent "
                        "ones are, could run twice; call it without idempotent=True and without idempotency_key"
                    )
                request.accept()
                execution.accepted = True
            elif (key := request.headers.get(IDEMPOTENCY_KEY)) is not None and not await self._begins(
                execution, read_idempotency_key(key)
            ):
                return
            direct = self.handler.direct
            if direct is not None:
                result = await invoke(direct, args, kwargs)
            else:
                result = await self.handler.run(args, kwargs, execution)
            error = self._settle(execution, result)
        except BaseException as raised:
            if isinstance(raised, GeneratorExit) and self._loop.is_closed():
                raise  # not the handler's: this task is being thrown away with its loop
            error = raised
            self._failed(execution, raised)
        finally:
            execution.over = True
            if execution.slot is not None:
                self._deadlines.discard(execution, execution.slot)
            if execution.run is not None:
                self.answers.end(execution.run)
                execution.run = None
            self.in_hand.discard(execution)
            if self.watched:
                self._finished(execution)
            if told:
                hooks.request_finished(self.schema.name, request.correlation_id, started, error)
            # A frame that keeps the exception which keeps the frame is a cycle; so is a task, its context and its call.
            error = execution.task = execution.thread = None

    async def _begins(self, execution: ActiveRequest, key: str) -> bool:
        """Tell whether the request is to run; otherwise it has the answer of another one with its key."""
        digest = digest_of(execution.request)
        while (found := self.answers.find(key, digest)) is not None:
            answer = await self._join(execution, found) if isinstance(found, SharedExecution) else found
            if answer is not None:
                if execution.request.wants_reply:
                    execution.request.reply(readdress_reply(self._codec, answer, execution.request))
                else:
                    execution.request.discard()
                return False
        execution.run = self.answers.begin(key, digest, execution)
        return True

    async def _join(self, execution: ActiveRequest, run: SharedExecution) -> StoredReply | None:
        try:
            return await run.join(execution)
        finally:
            if run.leader.settled and not run.wanted and not run.ended.done():
                self._stop(run.leader, "cancelled")  # it went on for those that joined, and now for nobody

    def refuse_second_run(self, request: IncomingRequest) -> None:
        """Settle a request of an at-most-once service that a worker had before."""
        error = ConnectionLostError(
            f"the worker that had this call of {self.schema.name!r} is gone; it may have run, and is not run again, "
            "because the service is at-most-once"
        )
        if request.wants_reply:
            request.reply(self._failure(request, error, REDELIVERED))
        else:
            request.dead_letter(str(error))

    def settle_stopped(self, execution: ActiveRequest, fate: StopReason) -> None:
        """Settle a request that does not come to its end."""
        request = execution.request
        if execution.settled or fate == "void":
            return
        if fate != "requeued":
            request.discard()
        elif not execution.accepted:
            request.reject(requeue=True)
        elif not request.wants_reply:
            request.discard()
        else:
            error = ConnectionLostError(
                f"the worker that had this call of {self.schema.name!r} was stopped before it was done; it may have "
                "run in part, and is not run again, because the service is at-most-once"
            )
            request.reply(self._failure(request, error, REDELIVERED))

    def _given_up(self, request: IncomingRequest) -> CallError | None:
        """Put a request aside that was given to workers too often."""
        name, limit = self.schema.name, self.schema.redelivery_limit
        if request.deliveries <= limit:
            return None
        reason = (
            f"service {name!r}: given to a worker {request.deliveries} times before and never answered; "
            f"redelivery_limit={limit} allows no more"
        )
        _log.error("call %s: %s; it is put aside", request.correlation_id.decode("utf-8", "backslashreplace"), reason)
        error = RemoteExecutionError(reason, func_name=name)
        request.dead_letter(reason, self._failure(request, error, DEAD) if request.wants_reply else None)
        return error

    def _settle(self, execution: ActiveRequest, result: Any) -> BaseException | None:
        """Answer with the result; return what stood in the way of it."""
        fate, request = execution.fate, execution.request
        if fate is not None and (execution.thread is not None or fate == "cancelled"):
            self.settle_stopped(execution, fate)
            return None
        if execution.run is None and not request.wants_reply:
            request.discard()
            return None
        try:
            encoded = encode_result(self._codec, result, request.correlation_id, request.content_type)
        except (SerializationError, ContentRejectedError) as error:
            self._send(execution, self._failure(request, error, RESULT_UNSENDABLE))
            return error
        reply = _new_tuple(Reply, (*encoded, self._marks))
        if execution.run is None:
            request.reply(reply)
        else:
            self._send(execution, reply)
        return None

    def _failed(self, execution: ActiveRequest, error: BaseException) -> None:
        fate, request = execution.fate, execution.request
        if fate is not None:
            self.settle_stopped(execution, fate)  # whatever it raises then, it was stopped
        elif isinstance(error, TooLateError):
            self.settle_stopped(execution, "expired")
        elif isinstance(error, asyncio.CancelledError) and execution.task is not None and execution.task.cancelling():
            self.settle_stopped(execution, "requeued")  # the loop is being shut down
        elif isinstance(error, ArgumentsRefusedError):
            self._send(execution, self._failure(request, error.__cause__ or error, INVALID_ARGUMENTS))
        elif isinstance(error, UnreadableRequestError):
            self._unreadable += 1
            if self._unreadable == 1:
                _log.warning("service %r: a request was not readable: %s", self.schema.name, error.__cause__)
            if request.wants_reply:
                request.reply(self._failure(request, error.__cause__ or error, REQUEST_REJECTED))
            else:
                request.dead_letter(f"service {self.schema.name!r}: not readable: {error.__cause__}")
        else:
            _log.info("service %r raised %s: %s", self.schema.name, type(error).__qualname__, error)
            self._send(execution, self._failure(request, error, EXECUTION))

    def _send(self, execution: ActiveRequest, reply: Reply) -> None:
        request, run = execution.request, execution.run
        if run is not None and execution.fate is None:
            run.answer = StoredReply(reply, request.correlation_id)
        if execution.settled:
            return
        if request.wants_reply:
            request.reply(reply)
        else:
            request.discard()

    def _failure(self, request: IncomingRequest, error: BaseException, kind: str) -> Reply:
        return encode_failure(self._codec, request, error, kind, self._marks)
