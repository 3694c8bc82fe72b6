"""Logs what goes wrong with the requests of one service: at once, but not once for each request.

It runs after or beside the settling of a request and must not disturb it: whatever an exception class, a formatter or a
handler of the logging package does, nothing is raised here.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

from rabibridge_core._clock import monotonic
from rabibridge_core._codec.annotations import place_of_error
from rabibridge_core._protocol.remote_errors import remote_traceback
from rabibridge_core._protocol.service_errors import misfit_of
from rabibridge_core._reporting.error_text import block, class_names, message_of, printable
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import QueueFullError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core.errors import ServiceError

__all__ = ["FailureLog"]

_log = get_logger(__name__)
_KINDS_MAX: Final = 16
"""How many kinds of failures are told apart between two summaries."""
_MESSAGE_MAX = 1_000
_OTHER = "a call failed in yet another way"


class FailureLog:
    """The log of the failures of one service.

    The first failure of each kind is logged at once, with its traceback if it was raised by the handler. Further ones
    are counted, and :meth:`summarize` logs their number.
    """

    __slots__ = ("_counts", "_service")

    def __init__(self, service: str) -> None:
        """Log for the service of this name."""
        self._service = service
        self._counts: dict[str, tuple[str, int]] = {}

    def raised(self, active: ActiveRequest, error: BaseException, message: str) -> None:
        """The handler raised ``error``."""
        self._guarded(self._raised, active, error, message)

    def declared(self, active: ActiveRequest, error: Any, *, listed: bool) -> None:
        """The handler raised a ServiceError; ``listed``: as its registration says."""
        if not listed:
            self._guarded(self._raised, active, error, message_of(error))
            return
        if _log.isEnabledFor(logging.DEBUG):
            what = f"call {_id(active.request.correlation_id)} ended as declared"
            self._guarded(self._line, what, error, logging.DEBUG, self._fields("call.declared_error", error, active))
        self._guarded(self._check_fields, error)  # the registration has prepared that

    def unsendable(self, error: BaseException, active: ActiveRequest | None = None) -> None:
        """A result, or the description of a failure, cannot be encoded or sent."""
        self._guarded(self._short, "the answer to a call could not be sent", error, "call.answer_unsendable", active)

    def unreadable(self, error: BaseException, active: ActiveRequest | None = None) -> None:
        """A request could not be read."""
        self._guarded(self._short, "a request could not be read", error, "call.unreadable", active)

    def not_started(self, error: BaseException, active: ActiveRequest | None = None) -> None:
        """A call was answered with an error before its handler could start."""
        if not isinstance(error, QueueFullError):
            self._guarded(self._short, "a call could not be started", error, "call.not_started", active)
        elif _log.isEnabledFor(logging.DEBUG):  # that is what a limit is for, and it may be a thousand times a second
            fields = self._fields("call.refused", error, active)
            self._guarded(self._line, "a call was refused", error, logging.DEBUG, fields)

    def overran(self, error: BaseException, active: ActiveRequest | None = None) -> None:
        """A call was stopped because it ran for too long."""
        self._guarded(self._short, "a call was stopped", error, "call.overran", active)

    def denied(self, error: BaseException, active: ActiveRequest | None = None) -> None:
        """A call was not admitted, or a notification, which is dropped."""
        self._guarded(self._short, "a call was not admitted", error, "call.denied", active)

    def unsettled(self, correlation_id: bytes, error: BaseException) -> None:
        """A request could not be settled as it should."""
        if self._first(what := "a call could not be answered as it should", "call.unsettled"):
            self._guarded(
                self._line, f"{what}, {_id(correlation_id)}", error, logging.ERROR,
                self._fields("call.unsettled", error, call_id=correlation_id),
            )  # fmt: skip

    def unstoppable(self, correlation_id: bytes, error: BaseException) -> None:
        """A call could not be cancelled: what its handler waits for raised an exception."""
        if self._first(what := "a call could not be cancelled", "call.not_cancelled"):
            self._guarded(
                self._line, f"{what}, {_id(correlation_id)}", error, logging.ERROR,
                self._fields("call.not_cancelled", error, call_id=correlation_id),
            )  # fmt: skip

    def refused(self, correlation_id: bytes, error: BaseException, *, told: bool) -> None:
        """The arguments of a call do not fit. If its caller is ``told``, the log says it at DEBUG only."""
        if not told:
            self._guarded(self._short, "the arguments of a notification were refused", error, "call.arguments_refused")
        elif _log.isEnabledFor(logging.DEBUG):
            what = f"the arguments of call {_id(correlation_id)} were refused"
            fields = self._fields("call.arguments_refused", error, call_id=correlation_id)
            self._guarded(self._line, what, error, logging.DEBUG, fields)

    def past_deadline(self, correlation_id: bytes) -> None:
        """A request that carries a deadline and no time left was dropped: its deadline had passed by our clock."""
        what = "a request arrived after its deadline and was not run"
        if self._first(what, "call.past_deadline"):
            _log.warning(
                "service %r: %s: call %s. It has a deadline and no time left: the clock of this machine decides",
                self._service, what, _id(correlation_id),
                extra=log_fields("call.past_deadline", service=self._service, call_id=correlation_id),
            )  # fmt: skip

    def dead(self, correlation_id: bytes, reason: str) -> None:
        """A request was dead-lettered because it was redelivered too often."""
        event = "call.dead_lettered"
        if self._first("a call is dead-lettered because it was redelivered too often", event):
            self._guarded(self._dead, correlation_id, reason, event)

    def summarize(self) -> None:
        """Log how many failures were not logged since the last call of this method."""
        counts, self._counts = self._counts, {}
        for what, (event, count) in counts.items():
            if count > 1:
                _log.warning(
                    "service %r: %d more times: %s", self._service, count - 1, what,
                    extra=log_fields(event, service=self._service, suppressed=count - 1),
                )  # fmt: skip

    def _first(self, what: str, event: str) -> bool:
        if what not in self._counts and len(self._counts) >= _KINDS_MAX:
            what = _OTHER
        event, count = self._counts.get(what, (event, 0))
        self._counts[what] = event, count + 1
        return not count

    def _fields(
        self,
        event: str,
        error: BaseException,
        active: ActiveRequest | None = None,
        call_id: bytes | None = None,
    ) -> dict[str, object]:
        if active is None:
            return log_fields(event, service=self._service, error=error, call_id=call_id)
        return log_fields(
            event, service=self._service, error=error, call_id=active.request.correlation_id,
            attempt=active.attempt, user=active.user or None, duration=monotonic() - active.received_at,
        )  # fmt: skip

    def _short(self, what: str, error: BaseException, event: str, active: ActiveRequest | None = None) -> None:
        if self._first(what, event):
            self._line(what, error, logging.WARNING, self._fields(event, error, active))

    def _line(self, what: str, error: BaseException, level: int, fields: dict[str, object]) -> None:
        text = printable(_text(error)[:_MESSAGE_MAX])
        _log.log(level, "service %r: %s: %s: %s", self._service, what, class_names(type(error))[0], text, extra=fields)

    def _dead(self, correlation_id: bytes, reason: str, event: str) -> None:
        _log.error(
            "call %s is dead-lettered: %s", _id(correlation_id), reason,
            extra=log_fields(event, service=self._service, call_id=correlation_id),
        )  # fmt: skip

    def _raised(self, active: ActiveRequest, error: BaseException, message: str) -> None:
        name = class_names(type(error))[0]
        if not self._first(f"it raised {name}", "call.raised") or not _log.isEnabledFor(logging.WARNING):
            return
        text = printable(message[:_MESSAGE_MAX])
        record = _log.makeRecord(
            _log.name, logging.WARNING, __file__, 0, "service %r raised %s: %s", (self._service, name, text),
            (type(error), error, error.__traceback__), "raised",
            self._fields("call.raised", error, active),
        )  # fmt: skip
        # Without the frames of the engine.
        record.exc_text = block(remote_traceback(error))
        _log.handle(record)

    def _check_fields(self, error: ServiceError) -> None:
        misfit = misfit_of(error)
        if misfit is not None:
            what = f"no caller gets {class_names(type(error))[0]} as such, because its fields do not fit"
            self._short(what, misfit, "call.declared_error")

    def _guarded(self, log: Callable[..., None], *arguments: object) -> None:
        try:
            log(*arguments)
        except BaseException as error:  # noqa: BLE001 - a handler of the logging package may raise anything
            if sys.stderr is not None:  # as the logging package does when it fails
                name = class_names(type(error))[0]
                sys.stderr.write(f"rabibridge: a failure of service {self._service!r} cannot be logged: {name}\n")


def _text(error: BaseException) -> str:
    """Return the text of an error, without the arguments that pydantic quotes: they are not logged."""
    pydantic = sys.modules.get("pydantic_core")
    if pydantic is not None and isinstance(error, pydantic.ValidationError):
        return place_of_error(error, "the arguments")
    return message_of(error)


def _id(correlation_id: bytes) -> str:
    return printable(correlation_id.decode("utf-8", "backslashreplace"))
