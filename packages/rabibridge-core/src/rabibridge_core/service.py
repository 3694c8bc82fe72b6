"""One service on one worker: every request that arrives is answered, given back, or known to be void."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any, Literal

from rabibridge_core.deadlines import DeadlineWheel, time_remaining
from rabibridge_core.errors import ContentRejectedError, SerializationError
from rabibridge_core.execution import ArgumentsRefusedError, Handler, TooLateError, invoke
from rabibridge_core.failures import EXECUTION, INVALID_ARGUMENTS, REQUEST_REJECTED, RESULT_UNSENDABLE, describe
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge_core.codec import Codec
    from rabibridge_core.errors import ConnectionLostError
    from rabibridge_core.plugins import CallHooks
    from rabibridge_core.registry import ServiceSchema
    from rabibridge_core.transport import Consumer, IncomingRequest, Transport

__all__ = ["Service"]

_log = logging.getLogger(__name__)
_SEQUENCE = (list, tuple)
_CANCEL_GRACE = 5.0
"""How long cancelled handlers may take to clean up when a service stops, in seconds."""


class _UnreadableError(Exception):
    """The request could not or may not be read: the cause says why."""


class _Execution:
    """A request in hand."""

    __slots__ = ("fate", "request", "slot", "started", "task")

    def __init__(self, request: IncomingRequest) -> None:
        self.request = request
        self.fate: Literal["expired", "requeued", "void"] | None = None  # why it is being stopped
        self.started = False
        self.slot: float | None = None
        self.task: asyncio.Task[None]


class Service:
    """Takes the requests of one service and answers them, each in a task of its own."""

    def __init__(self, schema: ServiceSchema, codec: Codec, hooks: CallHooks) -> None:
        """Serve ``schema``; must be made on the running event loop."""
        self.schema = schema
        self.consumer: Consumer | None = None
        self._codec = codec
        self._hooks = hooks
        self._handler = Handler(schema)
        self._loop = asyncio.get_running_loop()
        self._deadlines = DeadlineWheel[_Execution](self._loop, self._expired)
        self._in_hand: set[_Execution] = set()
        self._draining: asyncio.Timeout | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def in_hand(self) -> int:
        """How many requests are being answered."""
        return len(self._in_hand)

    @property
    def live(self) -> bool:
        """Whether requests arrive."""
        return self.consumer is not None and self.consumer.live

    async def start(self, transport: Transport) -> None:
        """Declare the queue and take requests."""
        self.consumer = await transport.serve(self.schema.queue, self)

    def swap(self, schema: ServiceSchema) -> None:
        """Run another function from the next request on; the queue and its limits stay."""
        self._change_handler(Handler(schema), schema)

    def _change_handler(self, handler: Handler, schema: ServiceSchema) -> None:
        # Apart from swap(): pydantic keeps the frame in which a validator is made, and with it whatever is there.
        old, self._handler = self._handler, handler
        self.schema = schema
        old.close(drop_waiting=False)

    async def halt(self) -> None:
        """Take no more requests; those in hand go on."""
        if self.consumer is not None:
            await self.consumer.stop()

    async def stop(self, drain_timeout: float) -> None:
        """Take no more requests, finish those in hand within ``drain_timeout`` seconds, give the rest back."""
        await self.halt()
        try:
            async with asyncio.timeout(drain_timeout) as self._draining:
                await self._idle.wait()
        except TimeoutError:
            pass
        finally:
            self._draining = None
        if self._in_hand:
            _log.warning(
                "service %r: %d calls were not finished within %g s and go back to the queue",
                self.schema.name, len(self._in_hand), drain_timeout,
            )  # fmt: skip
            await self._give_back()
        self._handler.close(drop_waiting=True)
        self._deadlines.clear()

    def hurry(self) -> None:
        """End a :meth:`stop` that waits for calls in hand: they go back to the queue now."""
        if self._draining is not None:
            self._draining.reschedule(self._loop.time())

    async def _give_back(self) -> None:
        in_hand = list(self._in_hand)
        for execution in in_hand:
            self._stop(execution, "requeued")
        if self._handler.is_async and in_hand:
            await asyncio.wait([execution.task for execution in in_hand], timeout=_CANCEL_GRACE)

    def received(self, request: IncomingRequest, /) -> None:
        """Answer a request."""
        execution = _Execution(request)
        self._in_hand.add(execution)
        self._idle.clear()
        execution.task = self._loop.create_task(self._answer(execution))

    def lost(self, error: ConnectionLostError, /) -> None:
        """Stop what is in hand: the broker gives it to some worker again, here or elsewhere."""
        if self._in_hand:
            _log.warning("service %r: %d calls in hand are void: %s", self.schema.name, len(self._in_hand), error)
        for execution in list(self._in_hand):
            self._stop(execution, "void")

    def _stop(self, execution: _Execution, fate: Literal["expired", "requeued", "void"]) -> None:
        if execution.fate is None:
            execution.fate = fate
            if not execution.started:
                return  # a task that is cancelled before its first step never gets to settle its request
            if self._handler.is_async:
                execution.task.cancel()
            elif fate == "requeued":  # its thread cannot be stopped; another worker may start it again
                execution.request.reject(requeue=True)

    def _expired(self, execution: _Execution) -> None:
        self._stop(execution, "expired")

    async def _answer(self, execution: _Execution) -> None:
        request, hooks = execution.request, self._hooks
        started = hooks.request_received(self.schema.name, request.correlation_id) if hooks.active else 0.0
        error: BaseException | None = None
        try:
            execution.started = True
            if execution.fate is not None:
                if execution.fate == "requeued":
                    request.reject(requeue=True)
                return
            time_left = time_remaining(request.time_left, request.deadline, time.time())
            if time_left is not None:
                if time_left <= 0:
                    raise TooLateError
                execution.slot = self._deadlines.add(execution, time_left)
            args, kwargs = self._arguments(request)
            direct = self._handler.direct
            if direct is not None:
                result = await invoke(direct, args, kwargs)
            else:
                result = await self._handler.run(args, kwargs, time_left)
            error = self._settle(execution, result)
        except BaseException as raised:
            if isinstance(raised, GeneratorExit) and self._loop.is_closed():
                raise  # not the handler's: this task is being thrown away with its loop
            error = raised
            self._failed(execution, raised)
        finally:
            if execution.slot is not None:
                self._deadlines.discard(execution, execution.slot)
            self._in_hand.discard(execution)
            if not self._in_hand:
                self._idle.set()
            if hooks.active:
                hooks.request_finished(self.schema.name, request.correlation_id, started, error)
            error = None  # a frame that keeps the exception which keeps the frame is a cycle

    def _arguments(self, request: IncomingRequest) -> tuple[Sequence[Any], dict[str, Any]]:
        try:
            value = self._codec.decode(
                request.body, request.content_type, request.content_encoding, request.correlation_id
            )
        except (SerializationError, ContentRejectedError) as error:
            raise _UnreadableError from error
        if isinstance(value, _SEQUENCE) and len(value) == 2:
            args, kwargs = value
            if isinstance(args, _SEQUENCE) and isinstance(kwargs, dict) and all(map(_is_name, kwargs)):
                return args, kwargs
        raise _UnreadableError from SerializationError("the request is not of the form [args, kwargs]")

    def _settle(self, execution: _Execution, result: Any) -> BaseException | None:
        """Answer with the result; return what stood in the way of it."""
        request = execution.request
        if execution.fate is None or self._handler.is_async:  # a handler may finish in spite of being cancelled
            if not request.wants_reply:
                request.discard()
                return None
            try:
                reply = self._codec.encode([0, result], b"reply " + request.correlation_id, request.content_type)
            except (SerializationError, ContentRejectedError) as error:
                self._reply_failure(request, error, RESULT_UNSENDABLE)
                return error
            request.reply(Reply(*reply))
        elif execution.fate == "expired":
            request.discard()
        return None

    def _failed(self, execution: _Execution, error: BaseException) -> None:
        request = execution.request
        if isinstance(error, asyncio.CancelledError) and execution.task.cancelling():
            if execution.fate == "expired":
                request.discard()
            elif execution.fate != "void":  # drained, or the loop is being shut down
                request.reject(requeue=True)
        elif isinstance(error, TooLateError) or execution.fate == "expired":
            request.discard()
        elif isinstance(error, ArgumentsRefusedError):
            self._reply_failure(request, error.__cause__ or error, INVALID_ARGUMENTS)
        elif isinstance(error, _UnreadableError):
            _log.warning("service %r: a request was not readable: %s", self.schema.name, error.__cause__)
            if request.wants_reply:
                self._reply_failure(request, error.__cause__ or error, REQUEST_REJECTED)
            else:
                request.reject(requeue=False)
        elif execution.fate is None or self._handler.is_async:
            _log.info("service %r raised %s: %s", self.schema.name, type(error).__qualname__, error)
            self._reply_failure(request, error, EXECUTION)

    def _reply_failure(self, request: IncomingRequest, error: BaseException, kind: str) -> None:
        if not request.wants_reply:
            request.discard()
            return
        text, headers = describe(error, kind)
        content_type = request.content_type if self._codec.accepts(request.content_type) else None
        context = b"reply " + request.correlation_id
        try:
            body = self._codec.encode([1, text], context, content_type)
        except (SerializationError, ContentRejectedError) as unsendable:
            _log.warning("service %r: the traceback cannot be sent: %s", self.schema.name, unsendable)
            body = self._codec.encode([1, ""], context, content_type)
        request.reply(Reply(*body, headers))


def _is_name(key: object) -> bool:
    return type(key) is str
