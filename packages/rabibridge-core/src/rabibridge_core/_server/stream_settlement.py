"""How a request of a service with streams or uploads is settled: as any other, and with the number of its items."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rabibridge_core._protocol.payloads import encode_result
from rabibridge_core._protocol.remote_errors import RESULT_UNSENDABLE, STREAM_STOPPED
from rabibridge_core._protocol.streams import TOTAL
from rabibridge_core._server.exceptions import UnsendableItemError, cause_of
from rabibridge_core._server.settlement import RequestSettler
from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._server.active_request import ActiveRequest, StopReason
    from rabibridge_core._server.stream_sessions import StreamSession, StreamSessions
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.transport import HeaderValue, Reply

__all__ = ["StreamSettler"]


class StreamSettler(RequestSettler):
    """Settles the requests of a service with streams or uploads, and then forgets their sessions.

    A stream that was stopped is never reported as complete, even if its function goes on and returns. If the worker
    stops it after items were sent, it ends with an error that lets its caller go on elsewhere.
    """

    __slots__ = ("_sessions",)

    def __init__(self, schema: ServiceSchema, codec: Codec, sessions: StreamSessions) -> None:
        """Settle requests of ``schema`` that have a session, or none."""
        super().__init__(schema, codec)
        self._sessions = sessions

    def settle_result(self, active: ActiveRequest, result: Any) -> BaseException | None:
        """See :meth:`RequestSettler.settle_result`."""
        session = self._sessions.of(active)
        if session is None:
            return super().settle_result(active, result)
        try:
            if active.stop_reason is not None:
                self.settle_stopped(active, active.stop_reason)
                return asyncio.CancelledError(active.stop_reason)
            try:
                reply = self._reply_of(active, session, result)
                RequestSettler._send(self, active, reply)
            except BaseException as error:  # noqa: BLE001 - a serializer may raise anything
                self._settle_failure(active, error, RESULT_UNSENDABLE)
                self.failures.unsendable(error, active)
                return error
            return None
        finally:
            self._sessions.remove(active)

    def _reply_of(self, active: ActiveRequest, session: StreamSession, result: Any) -> Reply:
        headers, sender = self._headers, session.sender
        if sender is not None:
            own: dict[str, HeaderValue] = {**headers} if headers else {}
            if sender.last:
                return sender.last_reply(own)
            own[TOTAL] = sender.sent
            headers = own
        return encode_result(self._codec, active.request, result, headers, self._name)

    def settle_error(self, active: ActiveRequest, error: BaseException, *, ran: bool, shutting_down: bool) -> None:
        """See :meth:`RequestSettler.settle_error`."""
        try:
            super().settle_error(active, error, ran=ran, shutting_down=shutting_down)
        finally:
            self._sessions.remove(active)

    def settle_stopped(self, active: ActiveRequest, reason: StopReason) -> None:
        """See :meth:`RequestSettler.settle_stopped`."""
        session = self._sessions.of(active)
        alone = active.settled or active.accepted
        if reason == "requeued" and not alone and session is not None and session.begun:
            error = ConnectionLostError(
                f"the worker stopped in the middle of this call of {self._name!r}, after {session.sent} items"
            )
            self._settle_failure(active, error, STREAM_STOPPED)
            return
        super().settle_stopped(active, reason)

    def _report(self, active: ActiveRequest, error: BaseException, *, ran: bool) -> None:
        if type(error) is UnsendableItemError:
            cause = cause_of(error)
            self._settle_failure(active, cause, RESULT_UNSENDABLE)
            self.failures.unsendable(cause, active)
        else:
            super()._report(active, error, ran=ran)

    def _send(self, active: ActiveRequest, reply: Reply) -> None:
        session = self._sessions.of(active)
        if session is not None and session.sender is not None:
            reply = reply._replace(headers={**(reply.headers or {}), TOTAL: session.sent})
        super()._send(active, reply)
