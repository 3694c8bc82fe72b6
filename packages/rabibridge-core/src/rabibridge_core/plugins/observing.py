"""Calls the observers of plug-ins: each on its own, so that one that raises affects neither the call nor the others."""

from __future__ import annotations

import logging
import sys
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from rabibridge_core._protocol.headers import check_call_headers
from rabibridge_core._reporting.error_text import repr_of
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.plugins.observers import (
    CallHeaders,
    CallObserver,
    ClientObserver,
    RequestObserver,
    ServerObserver,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from rabibridge_core.plugins.observers import ObservedRequest, Outcome, Shape
    from rabibridge_core.transport import Headers, HeaderValue, IncomingRequest

__all__ = [
    "NO_REQUEST",
    "all_clients",
    "all_servers",
    "observe",
    "observe_started",
    "report",
    "skips_request",
    "start_call",
    "start_request",
    "with_headers",
]

_log = get_logger(__name__)
_limited = LimitedLog(_log)
ResultT = TypeVar("ResultT")
_NO_CALL = CallHeaders({})
NO_REQUEST = RequestObserver()
_SHORT = 1024
_known_names: set[str] = set()
"""Header names that have been checked: plug-ins use a few, again and again."""


def start_call(observer: ClientObserver, shape: Shape, service: str) -> CallObserver:
    """Return what observes a call that starts now."""
    try:
        return observer.call_started(shape, service) or _NO_CALL
    except BaseException:  # noqa: BLE001 - whatever a plug-in raises, the call continues
        _failed(observer, "call_started")
        return _NO_CALL


def skips_request(observer: ServerObserver, request: IncomingRequest) -> bool:
    """Tell whether nothing is to be told of a request whose task starts now."""
    try:
        return observer.skips(request)
    except BaseException:  # noqa: BLE001 - as above
        _failed(observer, "skips")
        return False


def start_request(observer: ServerObserver, request: ObservedRequest) -> RequestObserver:
    """Return what observes a request whose task starts now."""
    try:
        return observer.request_started(request) or NO_REQUEST
    except BaseException:  # noqa: BLE001 - as above
        _failed(observer, "request_started")
        return NO_REQUEST


def report(method: Callable[..., object], *arguments: Any) -> Any:
    """Call a method of an observer, and return what it returns; ``None`` if it raises, which is logged."""
    try:
        return method(*arguments)
    except BaseException:  # noqa: BLE001 - as above; CancelledError, too, since no cancellation arrives where nothing waits
        _failed(getattr(method, "__self__", method), getattr(method, "__name__", "call"))
        return None


def _failed(observer: object, method: str) -> None:
    name, error = f"{type(observer).__name__}.{method}", sys.exc_info()[0]
    _limited.log(
        f"the observer {name}() of a plug-in raised {error.__name__ if error else 'an exception'}", logging.ERROR,
        "%s() of the observer %s of a plug-in raised an exception", method, type(observer).__name__,
        extra=log_fields("plugin.observer_failed", plugin=name, error=error), exc_info=True,
    )  # fmt: skip


async def observe(
    observer: ClientObserver,
    shape: Shape,
    service: str,
    run: Callable[..., Awaitable[ResultT]],
    *arguments: Any,
) -> ResultT:
    """Return what ``run(*arguments, observed)`` returns, where ``observed`` observes it as one call."""
    return await observe_started(start_call(observer, shape, service), run, *arguments)


async def observe_started(observed: CallObserver, run: Callable[..., Awaitable[ResultT]], *arguments: Any) -> ResultT:
    """Return what ``run(*arguments, observed)`` returns, where ``observed`` has been started for it."""
    if type(observed) is CallHeaders:
        return await run(*arguments, observed)
    try:
        result = await run(*arguments, observed)
    except BaseException as error:
        report(observed.ended, error, None)
        raise
    report(observed.ended, None, None)
    return result


def with_headers(
    observed: CallObserver, correlation_id: bytes, time_left: float | None, headers: Headers | None
) -> Headers | None:
    """Return the headers to send: those that the call has, as they are, and those that its observer adds."""
    added: Headers | None
    if type(observed) is CallHeaders:
        added = observed.headers
        if observed.checked:
            return {**added, **headers} if headers else added
    else:
        added = report(observed.sending, correlation_id, time_left, headers)
    if not added:
        return headers
    for name, value in added.items():
        if not (name in _known_names and type(value) is str and len(value) <= _SHORT and value.isascii()):
            added = {name: value for name, value in added.items() if _is_allowed(name, value)}
            break
    return {**added, **headers} if headers else added


def _is_allowed(name: str, value: HeaderValue) -> bool:
    """Tell whether a header of a plug-in is sent; log it if it is not."""
    try:
        check_call_headers({name: value})
    except ConfigurationError as error:
        _limited.log(
            f"a plug-in added the header {repr_of(name)[:80]}, which is not sent", logging.ERROR,
            "a plug-in added a header that is not sent: %s", error,
            extra=log_fields("plugin.header_refused", error=error),
        )  # fmt: skip
        return False
    if len(_known_names) < _SHORT:
        _known_names.add(name)
    return True


def all_clients(observers: Sequence[ClientObserver]) -> ClientObserver | None:
    """Return one observer for all; ``None`` if there is none."""
    return None if not observers else observers[0] if len(observers) == 1 else _Clients(observers)


def all_servers(observers: Sequence[ServerObserver]) -> ServerObserver | None:
    """Return one observer for all; ``None`` if there is none."""
    return None if not observers else observers[0] if len(observers) == 1 else _Servers(observers)


class _Clients(ClientObserver):
    __slots__ = ("_observers",)

    def __init__(self, observers: Sequence[ClientObserver]) -> None:
        self._observers = tuple(observers)

    def call_started(self, shape: Shape, service: str) -> CallObserver | None:
        started = [start_call(each, shape, service) for each in self._observers]
        found = [each for each in started if each is not _NO_CALL]
        return None if not found else found[0] if len(found) == 1 else _Calls(found)


class _Calls(CallObserver):
    __slots__ = ("_observers",)

    def __init__(self, observers: list[CallObserver]) -> None:
        self._observers = observers

    def enter(self) -> None:
        for each in self._observers:
            report(each.enter)

    def sending(self, correlation_id: bytes, time_left: float | None, headers: Headers | None) -> Headers | None:
        for each in self._observers:
            headers = with_headers(each, correlation_id, time_left, headers)
        return headers

    def refused(self, retry_in: float) -> None:
        for each in self._observers:
            report(each.refused, retry_in)

    def lost(self, error: BaseException) -> None:
        for each in self._observers:
            report(each.lost, error)

    def sent_again(self, correlation_id: bytes) -> None:
        for each in self._observers:
            report(each.sent_again, correlation_id)

    def hedge_sent(self, correlation_id: bytes, after: float) -> None:
        for each in self._observers:
            report(each.hedge_sent, correlation_id, after)

    def hedge_answered(self, *, second: bool) -> None:
        for each in self._observers:
            report(partial(each.hedge_answered, second=second))

    def ended(self, error: BaseException | None, items: int | None) -> None:
        for each in self._observers:
            report(each.ended, error, items)


class _Servers(ServerObserver):
    __slots__ = ("_observers",)

    def __init__(self, observers: Sequence[ServerObserver]) -> None:
        self._observers = tuple(observers)

    def request_started(self, request: ObservedRequest) -> RequestObserver | None:
        started = [start_request(each, request) for each in self._observers]
        found = [each for each in started if each is not NO_REQUEST]
        return None if not found else found[0] if len(found) == 1 else _Requests(found)

    def request_dropped(self, request: ObservedRequest, outcome: Outcome) -> None:
        for each in self._observers:
            report(each.request_dropped, request, outcome)


class _Requests(RequestObserver):
    __slots__ = ("_observers",)

    def __init__(self, observers: list[RequestObserver]) -> None:
        self._observers = observers

    def handler_started(self, queued: float | None) -> None:
        for each in self._observers:
            report(each.handler_started, queued)

    def child_headers(self) -> Headers | None:
        found = [report(each.child_headers) for each in self._observers]
        return {name: value for headers in found if headers for name, value in headers.items()} or None

    def ended(self, outcome: Outcome, error: BaseException | None, items: int | None) -> None:
        for each in self._observers:
            report(each.ended, outcome, error, items)
