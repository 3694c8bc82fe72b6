"""Passes on replies that were made elsewhere: by a child process, or for another call with the same idempotency key."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rabibridge_core._protocol.headers import ERROR_KIND, EXIT_CODE
from rabibridge_core._protocol.payloads import readdress_reply
from rabibridge_core._protocol.remote_errors import CRASHED, RESULT_UNSENDABLE, decode_error
from rabibridge_core._protocol.service_errors import without_fields
from rabibridge_core._server.settlement import RequestSettler
from rabibridge_core.errors import ContentRejectedError, RemoteExecutionError, WorkerCrashedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._protocol.payloads import StoredReply
    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core.transport import Headers, IncomingRequest, Reply

__all__ = ["ChildAnswer", "ForwardingSettler", "leave_encoded", "repeat_reply"]


def leave_encoded(codec: Codec, request: IncomingRequest, on_loop: bool = True) -> tuple[Sequence[Any], dict[str, Any]]:
    """Decode nothing: the child process does it."""
    return (), {}


@dataclass(frozen=True, slots=True)
class ChildAnswer:
    """How a child process has settled a request.

    Attributes:
        reply: the reply; ``None``: none.
        dead_letter: why the request belongs into the dead-letter queue; empty: it does not.
        failure: the headers that describe the failure of a request without a reply; ``None``: it has not failed.
    """

    reply: Reply | None
    dead_letter: str = ""
    failure: Headers | None = None


class ForwardingSettler(RequestSettler):
    """Passes on what a child process has encoded."""

    __slots__ = ()

    def settle_result(self, active: ActiveRequest, result: ChildAnswer) -> BaseException | None:
        """Send the answer of the child. Return the error that it reports, or that it cannot be sent."""
        reason, request = active.stop_reason, active.request
        if reason is not None and (active.settled or reason == "cancelled"):
            self.settle_stopped(active, reason)
            return asyncio.CancelledError(reason)
        try:
            if result.dead_letter and not request.wants_reply:
                request.dead_letter(result.dead_letter)
                return _unreadable(result.dead_letter, self._name)
            if result.reply is None:
                request.discard()
                return _reported_error(request, result.failure, self._name)
            reply = result.reply._replace(headers={**(result.reply.headers or {}), **(self._headers or {})})
            try:
                self._send(active, reply)
            except ContentRejectedError as too_large:  # the broker allows smaller headers than usual
                self.failures.unsendable(too_large, active)
                self._send(active, without_fields(reply))
        except BaseException as error:  # noqa: BLE001 - whatever the transport raises
            self._settle_failure(active, error, RESULT_UNSENDABLE)
            self.failures.unsendable(error, active)
            return error
        return _reported_error(request, reply.headers, self._name)

    def _report(self, active: ActiveRequest, error: BaseException, *, ran: bool) -> None:
        if type(error) is WorkerCrashedError:  # nothing else raises it here
            self._settle_failure(active, error, CRASHED)
        else:
            super()._report(active, error, ran=ran)

    def _error_reply(self, request: IncomingRequest, error: BaseException, kind: str, remark: str = "") -> Reply:
        reply = super()._error_reply(request, error, kind, remark)
        if isinstance(error, WorkerCrashedError) and error.exit_code is not None:
            return reply._replace(headers={**(reply.headers or {}), EXIT_CODE: error.exit_code})
        return reply


def repeat_reply(codec: Codec, request: IncomingRequest, stored: StoredReply, name: str) -> BaseException | None:
    """Settle a request with the reply to another one that has its idempotency key. Return the error that it reports."""
    if request.wants_reply:
        request.reply(readdress_reply(codec, stored, request))
    else:
        request.discard()
    return _reported_error(request, stored.reply.headers, name)


def _reported_error(request: IncomingRequest, headers: Headers | None, name: str) -> BaseException | None:
    if not headers or ERROR_KIND not in headers:
        return None
    return decode_error(None, headers, name, request.correlation_id.decode("utf-8", "backslashreplace"))


def _unreadable(reason: str, name: str) -> BaseException:
    error = RemoteExecutionError(reason, func_name=name, error_message=reason)
    error.executed = False
    return error
