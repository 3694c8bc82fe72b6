"""How a request is settled: with a result, with an error, in the dead-letter queue, or without a reply."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge_core._protocol.headers import REFUSAL
from rabibridge_core._protocol.payloads import (
    StoredReply,
    StreamRequestError,
    UnreadableRequestError,
    encode_failure,
    encode_result,
    reply_headers,
)
from rabibridge_core._protocol.remote_errors import (
    ACCESS_DENIED,
    DEAD,
    EXECUTION,
    INVALID_ARGUMENTS,
    OVERRAN,
    REDELIVERED,
    REQUEST_REJECTED,
    RESULT_UNSENDABLE,
    WAITED_TOO_LONG,
    failure_headers,
)
from rabibridge_core._protocol.service_errors import without_fields
from rabibridge_core._reporting.error_text import class_names, message_of, printable
from rabibridge_core._server.exceptions import (
    AdmissionRefusedError,
    ArgumentsRefusedError,
    NotStartedError,
    TooLateError,
    cause_of,
    not_run_again,
    stopped_early,
)
from rabibridge_core._server.failure_log import FailureLog
from rabibridge_core._server.upload_arguments import no_stream
from rabibridge_core._server.wait_limit import waited_too_long
from rabibridge_core.errors import (
    AccessDeniedError,
    CallError,
    ContentRejectedError,
    RemoteExecutionError,
    ServiceError,
)
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._protocol.remote_errors import RemoteTraceback
    from rabibridge_core._server.active_request import ActiveRequest, StopReason
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.errors import ConnectionLostError, RunTimeoutError
    from rabibridge_core.transport import Headers, IncomingRequest

__all__ = ["RequestSettler"]

_CANCELLED_INSIDE = (
    "the function was cancelled from inside: by its own code or by a library that it uses, not by its caller, its "
    "deadline or this worker"
)
_UNSENT = "the worker could not send the answer to this call"


class RequestSettler:
    """Settles the requests of one service. It never settles a request that is settled already, or void.

    :meth:`settle_result` and :meth:`settle_error` raise nothing, whatever the serializer, the class of an exception or
    the transport raises: a request whose reply cannot be encoded or published gets a smaller one, or is discarded.
    """

    __slots__ = (
        "_added", "_at_most_once", "_codec", "_headers", "_name", "_raises", "_redelivery_limit", "_told", "failures",
    )  # fmt: skip

    def __init__(self, schema: ServiceSchema, codec: Codec) -> None:
        """Settle requests of ``schema``; ``codec`` encodes the replies."""
        self._codec, self._name, self._at_most_once = codec, schema.name, schema.delivery == "at-most-once"
        self.failures = FailureLog(schema.name)
        self._added: Headers | None = None
        self.use(schema)

    def use(self, schema: ServiceSchema) -> None:
        """Use the limits of ``schema`` from the next request on."""
        self._headers = reply_headers(idempotent=schema.idempotent)
        if self._added:
            self._headers = {**(self._headers or {}), **self._added}
        self._redelivery_limit, self._raises = schema.redelivery_limit, schema.raises
        self._told: RemoteTraceback = schema.remote_traceback or "full"

    def add_headers(self, headers: Headers) -> None:
        """Send these headers with every reply from now on."""
        self._added = headers
        self._headers = {**(self._headers or {}), **headers}

    def settle_result(self, active: ActiveRequest, result: Any) -> BaseException | None:
        """Reply with the handler's result. Return the error if no result is sent."""
        reason, request, execution = active.stop_reason, active.request, active.execution
        if reason is not None and (active.settled or active.thread_future is not None or reason == "cancelled"):
            self.settle_stopped(active, reason)
            return asyncio.CancelledError(reason)
        if execution is None and not request.wants_reply:
            request.discard()
            return None
        try:
            reply = encode_result(self._codec, request, result, self._headers, self._name)
            if execution is None:
                request.reply(reply)
            else:
                self._send(active, reply)
        except BaseException as error:  # noqa: BLE001 - a serializer may raise anything
            self._settle_failure(active, error, RESULT_UNSENDABLE)
            self.failures.unsendable(error, active)
            return error
        return None

    def settle_error(self, active: ActiveRequest, error: BaseException, *, ran: bool, shutting_down: bool) -> None:
        """Settle a request whose processing raised ``error``.

        Args:
            active: the request.
            error: what was raised.
            ran: whether the handler had been called.
            shutting_down: whether the event loop has cancelled all of its tasks.
        """
        reason, cls = active.stop_reason, type(error)
        try:
            if reason is not None:
                self.settle_stopped(active, reason)  # a stopped handler may raise anything
            elif cls is TooLateError:
                self.settle_stopped(active, "expired")
                if not ran and active.request.time_left is None:
                    self.failures.past_deadline(active.request.correlation_id)
            elif shutting_down and issubclass(cls, asyncio.CancelledError):
                self.settle_stopped(active, "requeued")
            else:
                self._report(active, error, ran=ran)
        except BaseException as failure:  # noqa: BLE001 - the request must be settled, whatever fails
            self._settle_somehow(active.request, failure, EXECUTION if ran else REQUEST_REJECTED)

    def _report(self, active: ActiveRequest, error: BaseException, *, ran: bool) -> None:
        cls = type(error)
        if cls is ArgumentsRefusedError:
            self._refuse_arguments(active, cause_of(error))
        elif cls is StreamRequestError:
            self._refuse_arguments(active, no_stream(self._name, active.request.headers))
        elif cls is UnreadableRequestError:
            self._refuse_unreadable(active, cause_of(error))
        elif cls is AccessDeniedError and not ran:
            self._settle_failure(active, error, ACCESS_DENIED)
            self.failures.denied(error, active)
        elif cls is AdmissionRefusedError:
            self._settle_failure(active, cause_of(error), error.kind)  # type: ignore[attr-defined]
        elif cls is NotStartedError or not ran:
            self._settle_failure(active, cause_of(error), REQUEST_REJECTED)
            self.failures.not_started(cause_of(error), active)
        else:
            remark = _CANCELLED_INSIDE if issubclass(cls, asyncio.CancelledError) else ""
            self._settle_failure(active, error, EXECUTION, remark)
            if issubclass(cls, ServiceError):
                self.failures.declared(active, error, listed=issubclass(cls, self._raises))
            else:
                self.failures.raised(active, error, message_of(error) or remark)

    def _refuse_arguments(self, active: ActiveRequest, error: BaseException) -> None:
        self._settle_failure(active, error, INVALID_ARGUMENTS)
        self.failures.refused(active.request.correlation_id, error, told=active.request.wants_reply)

    def _settle_failure(self, active: ActiveRequest, error: BaseException, kind: str, remark: str = "") -> None:
        try:
            reply = self._error_reply(active.request, error, kind, remark)
            try:
                self._send(active, reply)
            except ContentRejectedError as too_large:  # the broker allows smaller headers than usual
                self.failures.unsendable(too_large, active)
                self._send(active, without_fields(reply))
        except BaseException as failure:  # noqa: BLE001 - a transport that cannot publish this may publish less
            self._settle_somehow(active.request, failure, kind)

    def _settle_somehow(self, request: IncomingRequest, failure: BaseException, kind: str) -> None:
        """Settle a request whose settling raised ``failure``: with a reply without a body, or without any."""
        self.failures.unsettled(request.correlation_id, failure)
        if request.void:
            return
        names = class_names(Exception if self._told == "none" else type(failure))
        headers: Headers = {**failure_headers(kind, names, _UNSENT), **(self._added or {})}
        settle: tuple[Callable[[], None], ...] = (
            lambda: request.reply(Reply(b"", None, None, headers)),
            request.discard,
        )
        for attempt in settle if request.wants_reply else settle[1:]:
            try:
                attempt()
            except BaseException as another:  # noqa: BLE001 - as above
                self.failures.unsettled(request.correlation_id, another)
            else:
                return

    def settle_overrun(self, active: ActiveRequest, error: RunTimeoutError) -> None:
        """Settle a request whose handler runs for too long, although it still runs. It raises nothing."""
        self._settle_failure(active, error, OVERRAN)
        active.settled = True
        self.failures.overran(error, active)

    def settle_stopped(self, active: ActiveRequest, reason: StopReason) -> None:
        """Settle a request that was stopped for ``reason``. It raises nothing."""
        request = active.request
        if active.settled or reason == "void":
            return
        try:
            if reason == "waited":
                self._settle_failure(active, waited_too_long(active), WAITED_TOO_LONG)
            elif reason != "requeued":
                request.discard()
            elif not self._at_most_once:
                request.reject(requeue=True)
            else:
                self._end_at_most_once(active)
        except BaseException as failure:  # noqa: BLE001 - the request must be settled, whatever fails
            self._settle_somehow(request, failure, REDELIVERED)

    def _end_at_most_once(self, active: ActiveRequest) -> None:
        """Settle a request of an at-most-once service that is being stopped: no other worker may run it."""
        request, kind = active.request, REDELIVERED if active.accepted else REQUEST_REJECTED
        error = stopped_early(self._name, begun=active.accepted)
        if request.wants_reply:
            request.reply(self._error_reply(request, error, kind))
        elif active.accepted:
            request.discard()
        else:
            request.dead_letter(str(error))

    def refuse_redelivered(self, request: IncomingRequest) -> ConnectionLostError:
        """Settle a redelivered request of an at-most-once service, and return its error."""
        error = not_run_again(self._name)
        try:
            if request.wants_reply:
                request.reply(self._error_reply(request, error, REDELIVERED))
            else:
                request.dead_letter(str(error))
        except BaseException as failure:  # noqa: BLE001 - the request must be settled, whatever fails
            self._settle_somehow(request, failure, REDELIVERED)
        return error

    def dead_letter_exhausted(self, request: IncomingRequest) -> CallError | None:
        """Dead-letter a request that was delivered too often, and return its error; ``None``: it may run."""
        limit = self._redelivery_limit
        if request.deliveries <= limit:
            return None
        times = f"{request.deliveries} times before without a reply, more than redelivery_limit={limit} allows"
        reason = f"service {self._name!r}: delivered to workers {times}"
        self.failures.dead(request.correlation_id, reason)
        error = RemoteExecutionError(reason, func_name=self._name)
        request.dead_letter(reason, self._error_reply(request, error, DEAD) if request.wants_reply else None)
        return error

    def refuse_reply(self, request: IncomingRequest, error: ContentRejectedError) -> None:
        """Reply that the result of a request cannot be sent, because the broker does not accept it."""
        try:
            request.reply(self._error_reply(request, error, RESULT_UNSENDABLE))
        except BaseException as failure:  # noqa: BLE001 - the request must be settled, whatever fails
            self._settle_somehow(request, failure, RESULT_UNSENDABLE)
        self.failures.unsendable(error)

    def _refuse_unreadable(self, active: ActiveRequest, cause: BaseException) -> None:
        request = active.request
        if request.wants_reply:
            self._settle_failure(active, cause, REQUEST_REJECTED)
        else:
            request.dead_letter(
                f"service {self._name!r}: the request could not be read: {printable(message_of(cause))}"
            )
        self.failures.unreadable(cause, active)

    def _send(self, active: ActiveRequest, reply: Reply) -> None:
        request, execution = active.request, active.execution
        if execution is not None and active.stop_reason is None and REFUSAL not in (reply.headers or ()):
            execution.reply = StoredReply(reply, request.correlation_id)
        if active.settled:
            return
        if request.wants_reply:
            request.reply(reply)
        else:
            request.discard()

    def _error_reply(self, request: IncomingRequest, error: BaseException, kind: str, remark: str = "") -> Reply:
        told = self._told
        if told == "none" and kind == EXECUTION and issubclass(type(error), self._raises):
            told = "message"
        return encode_failure(
            self._codec, request, error, kind, self._headers,
            remark=remark, told=told, unsendable=self.failures.unsendable,
        )  # fmt: skip
