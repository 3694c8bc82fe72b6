"""Logs what goes wrong with the requests of one service: at once, but not once for each request.

It runs after or beside the settling of a request and must not disturb it: whatever an exception class, a formatter or a
handler of the logging package does, nothing is raised here.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, Final

from rabibridge_core._protocol.remote_errors import remote_traceback
from rabibridge_core._protocol.service_errors import misfit_of
from rabibridge_core._reporting.error_text import block, class_names, message_of, printable
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable

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
        self._counts: dict[str, int] = {}

    def raised(self, error: BaseException, message: str) -> None:
        """The handler raised ``error``."""
        self._guarded(self._raised, error, message)

    def declared(self, correlation_id: bytes, error: Any, *, listed: bool) -> None:
        """The handler raised a ServiceError; ``listed``: as its registration says."""
        if not listed:
            self._guarded(self._raised, error, message_of(error))
            return
        if _log.isEnabledFor(logging.DEBUG):
            self._guarded(self._line, f"call {_id(correlation_id)} ended as declared", error, logging.DEBUG)
        self._guarded(self._check_fields, error)  # the registration has prepared that

    def unsendable(self, error: BaseException) -> None:
        """A result, or the description of a failure, cannot be encoded or sent."""
        self._guarded(self._short, "the answer to a call could not be sent", error, logging.WARNING)

    def unreadable(self, error: BaseException) -> None:
        """A request could not be read."""
        self._guarded(self._short, "a request could not be read", error, logging.WARNING)

    def not_started(self, error: BaseException) -> None:
        """A call was answered with an error before its handler could start."""
        self._guarded(self._short, "a call could not be started", error, logging.WARNING)

    def overran(self, error: BaseException) -> None:
        """A call was stopped because it ran for too long."""
        self._guarded(self._short, "a call was stopped", error, logging.WARNING)

    def denied(self, error: BaseException) -> None:
        """A call was not admitted, or a notification, which is dropped."""
        self._guarded(self._short, "a call was not admitted", error, logging.WARNING)

    def unsettled(self, correlation_id: bytes, error: BaseException) -> None:
        """A request could not be settled as it should."""
        if self._first(what := "a call could not be answered as it should"):
            self._guarded(self._line, f"{what}, {_id(correlation_id)}", error, logging.ERROR)

    def unstoppable(self, correlation_id: bytes, error: BaseException) -> None:
        """A call could not be cancelled: what its handler waits for raised an exception."""
        if self._first(what := "a call could not be cancelled"):
            self._guarded(self._line, f"{what}, {_id(correlation_id)}", error, logging.ERROR)

    def refused(self, correlation_id: bytes, error: BaseException, *, told: bool) -> None:
        """The arguments of a call do not fit. If its caller is ``told``, the log says it at DEBUG only."""
        if not told:
            self._guarded(self._short, "the arguments of a notification were refused", error, logging.WARNING)
        elif _log.isEnabledFor(logging.DEBUG):
            what = f"the arguments of call {_id(correlation_id)} were refused"
            self._guarded(self._line, what, error, logging.DEBUG)

    def past_deadline(self, correlation_id: bytes) -> None:
        """A request that carries a deadline and no time left was dropped: its deadline had passed by our clock."""
        what = "a request arrived after its deadline and was not run"
        if self._first(what):
            _log.warning(
                "service %r: %s: call %s. It has a deadline and no time left: the clock of this machine decides",
                self._service, what, _id(correlation_id),
            )  # fmt: skip

    def dead(self, correlation_id: bytes, reason: str) -> None:
        """A request was dead-lettered because it was redelivered too often."""
        if self._first("a call is dead-lettered because it was redelivered too often"):
            self._guarded(_log.error, "call %s is dead-lettered: %s", _id(correlation_id), reason)

    def summarize(self) -> None:
        """Log how many failures were not logged since the last call of this method."""
        counts, self._counts = self._counts, {}
        for what, count in counts.items():
            if count > 1:
                _log.warning("service %r: %d more times: %s", self._service, count - 1, what)

    def _first(self, what: str) -> bool:
        if what not in self._counts and len(self._counts) >= _KINDS_MAX:
            what = _OTHER
        self._counts[what] = count = self._counts.get(what, 0) + 1
        return count == 1

    def _short(self, what: str, error: BaseException, level: int) -> None:
        if self._first(what):
            self._line(what, error, level)

    def _line(self, what: str, error: BaseException, level: int) -> None:
        text = printable(message_of(error)[:_MESSAGE_MAX])
        _log.log(level, "service %r: %s: %s: %s", self._service, what, class_names(type(error))[0], text)

    def _raised(self, error: BaseException, message: str) -> None:
        name = class_names(type(error))[0]
        if not self._first(f"it raised {name}") or not _log.isEnabledFor(logging.WARNING):
            return
        text = printable(message[:_MESSAGE_MAX])
        record = _log.makeRecord(
            _log.name, logging.WARNING, __file__, 0, "service %r raised %s: %s", (self._service, name, text),
            (type(error), error, error.__traceback__), "raised",
        )  # fmt: skip
        # Without the frames of the engine.
        record.exc_text = block(remote_traceback(error))
        _log.handle(record)

    def _check_fields(self, error: ServiceError) -> None:
        misfit = misfit_of(error)
        if misfit is not None:
            what = f"no caller gets {class_names(type(error))[0]} as such, because its fields do not fit"
            self._short(what, misfit, logging.WARNING)

    def _guarded(self, log: Callable[..., None], *arguments: object) -> None:
        try:
            log(*arguments)
        except BaseException as error:  # noqa: BLE001 - a handler of the logging package may raise anything
            if sys.stderr is not None:  # as the logging package does when it fails
                name = class_names(type(error))[0]
                sys.stderr.write(f"rabibridge: a failure of service {self._service!r} cannot be logged: {name}\n")


def _id(correlation_id: bytes) -> str:
    return printable(correlation_id.decode("utf-8", "backslashreplace"))
