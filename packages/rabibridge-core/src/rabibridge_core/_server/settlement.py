"""How a request is settled: with a result, with an error, in the dead-letter queue, or without a reply."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from rabibridge_core._protocol.payloads import (
    StoredReply,
    UnreadableRequestError,
    encode_failure,
    encode_result,
    reply_headers,
)
from rabibridge_core._protocol.remote_errors import (
    DEAD,
    EXECUTION,
    INVALID_ARGUMENTS,
    REDELIVERED,
    REQUEST_REJECTED,
    RESULT_UNSENDABLE,
)
from rabibridge_core._server.exceptions import ArgumentsRefusedError, TooLateError
from rabibridge_core.errors import (
    CallError,
    ConnectionLostError,
    ContentRejectedError,
    RemoteExecutionError,
    SerializationError,
)

if TYPE_CHECKING:
    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._server.active_request import ActiveRequest, StopReason
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.transport import IncomingRequest, Reply

__all__ = ["RequestSettler"]

_log = logging.getLogger(__name__)


class RequestSettler:
    """Settles the requests of one service. It never settles a request that is settled already, or void."""

    __slots__ = ("_codec", "_headers", "_name", "_redelivery_limit", "_unreadable")

    def __init__(self, schema: ServiceSchema, codec: Codec) -> None:
        """Settle requests of ``schema``; ``codec`` encodes the replies."""
        self._codec = codec
        self._name = schema.name
        self._unreadable = 0
        self.use(schema)

    def use(self, schema: ServiceSchema) -> None:
        """Use the limits of ``schema`` from the next request on."""
        self._headers = reply_headers(idempotent=schema.idempotent)
        self._redelivery_limit = schema.redelivery_limit

    def settle_result(self, active: ActiveRequest, result: Any) -> BaseException | None:
        """Reply with the handler's result. Return the error if the result cannot be sent."""
        reason, request, execution = active.stop_reason, active.request, active.execution
        if reason is not None and (active.thread_future is not None or reason == "cancelled"):
            self.settle_stopped(active, reason)
            return None
        if execution is None and not request.wants_reply:
            request.discard()
            return None
        try:
            reply = encode_result(self._codec, request, result, self._headers)
        except (SerializationError, ContentRejectedError) as error:
            self._send(active, self._error_reply(request, error, RESULT_UNSENDABLE))
            return error
        if execution is None:
            request.reply(reply)
        else:
            self._send(active, reply)
        return None

    def settle_error(self, active: ActiveRequest, error: BaseException) -> None:
        """Settle a request whose processing raised ``error``."""
        reason, request = active.stop_reason, active.request
        if reason is not None:
            self.settle_stopped(active, reason)  # a stopped handler may raise anything
        elif isinstance(error, TooLateError):
            self.settle_stopped(active, "expired")
        elif isinstance(error, asyncio.CancelledError) and active.task is not None and active.task.cancelling():
            self.settle_stopped(active, "requeued")  # the event loop is shutting down
        elif isinstance(error, ArgumentsRefusedError):
            self._send(active, self._error_reply(request, error.__cause__ or error, INVALID_ARGUMENTS))
        elif isinstance(error, UnreadableRequestError):
            self._refuse_unreadable(request, error.__cause__ or error)
        else:
            _log.info("service %r raised %s: %s", self._name, type(error).__qualname__, error)
            self._send(active, self._error_reply(request, error, EXECUTION))

    def settle_stopped(self, active: ActiveRequest, reason: StopReason) -> None:
        """Settle a request that was stopped for ``reason``."""
        request = active.request
        if active.settled or reason == "void":
            return
        if reason != "requeued":
            request.discard()
        elif not active.accepted:
            request.reject(requeue=True)
        elif not request.wants_reply:
            request.discard()
        else:
            error = ConnectionLostError(
                f"the worker stopped before this call of {self._name!r} was done; it may have run in part, and is not "
                "run again, because the service is at-most-once"
            )
            request.reply(self._error_reply(request, error, REDELIVERED))

    def refuse_redelivered(self, request: IncomingRequest) -> None:
        """Settle a redelivered request of an at-most-once service."""
        error = ConnectionLostError(
            f"the worker that received this call of {self._name!r} is gone; the call may have run, and is not run "
            "again, because the service is at-most-once"
        )
        if request.wants_reply:
            request.reply(self._error_reply(request, error, REDELIVERED))
        else:
            request.dead_letter(str(error))

    def dead_letter_exhausted(self, request: IncomingRequest) -> CallError | None:
        """Dead-letter a request that was delivered too often, and return its error; ``None``: it may run."""
        limit = self._redelivery_limit
        if request.deliveries <= limit:
            return None
        reason = (
            f"service {self._name!r}: delivered to workers {request.deliveries} times before without a reply, more "
            f"than redelivery_limit={limit} allows"
        )
        correlation_id = request.correlation_id.decode("utf-8", "backslashreplace")
        _log.error("call %s is dead-lettered: %s", correlation_id, reason)
        error = RemoteExecutionError(reason, func_name=self._name)
        request.dead_letter(reason, self._error_reply(request, error, DEAD) if request.wants_reply else None)
        return error

    def refuse_reply(self, request: IncomingRequest, error: ContentRejectedError) -> None:
        """Reply that the result of a request cannot be sent, because the broker does not accept it."""
        _log.warning("service %r: %s", self._name, error)
        request.reply(self._error_reply(request, error, RESULT_UNSENDABLE))

    def log_unreadable(self) -> None:
        """Log the number of unreadable requests since the last call, except the first, which was logged at once."""
        if self._unreadable > 1:
            _log.warning("service %r: %d more requests could not be read", self._name, self._unreadable - 1)
        self._unreadable = 0

    def _refuse_unreadable(self, request: IncomingRequest, cause: BaseException) -> None:
        self._unreadable += 1
        if self._unreadable == 1:
            _log.warning("service %r: a request could not be read: %s", self._name, cause)
        if request.wants_reply:
            request.reply(self._error_reply(request, cause, REQUEST_REJECTED))
        else:
            request.dead_letter(f"service {self._name!r}: the request could not be read: {cause}")

    def _send(self, active: ActiveRequest, reply: Reply) -> None:
        request, execution = active.request, active.execution
        if execution is not None and active.stop_reason is None:
            execution.reply = StoredReply(reply, request.correlation_id)
        if active.settled:
            return
        if request.wants_reply:
            request.reply(reply)
        else:
            request.discard()

    def _error_reply(self, request: IncomingRequest, error: BaseException, kind: str) -> Reply:
        return encode_failure(self._codec, request, error, kind, self._headers)
