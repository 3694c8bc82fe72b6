"""What is told to observers of requests; nothing of it runs where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._clock import monotonic
from rabibridge_core._protocol.streams import STREAM
from rabibridge_core.plugins.observers import ObservedRequest
from rabibridge_core.plugins.observing import NO_REQUEST, report, start_request

if TYPE_CHECKING:
    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core.plugins.observers import Outcome, ServerObserver, Shape
    from rabibridge_core.transport import Headers, IncomingRequest

__all__ = ["tell_begun", "tell_dropped", "tell_ended", "tell_running", "with_child_headers"]

_new_tuple = tuple.__new__  # takes half the time of the constructor of a NamedTuple
_broadcasts: dict[type, bool] = {}
"""Which classes of requests are those of broadcasts: looking for a method that is not there takes long."""


def _shape(request: IncomingRequest) -> Shape:
    if STREAM in request.headers:
        return "stream"
    kind = type(request)
    if (is_broadcast := _broadcasts.get(kind)) is None:
        is_broadcast = _broadcasts[kind] = hasattr(kind, "announce")
    if is_broadcast:
        return "broadcast"
    return "call" if request.wants_reply else "notify"


def tell_begun(observer: ServerObserver, active: ActiveRequest) -> bool:
    """Called in the first step of the task of a request that is not skipped; return whether more is told about it."""
    request = active.request
    waited = monotonic() - active.received_at
    told = _new_tuple(ObservedRequest, (_shape(request), active.service, request, waited))
    active.observed = observed = start_request(observer, told)
    return observed is not NO_REQUEST


def tell_running(active: ActiveRequest) -> None:
    """Called before the function is called."""
    sent_with, ends_at = active.request.time_left, active.ends_at
    queued = None if sent_with is None or ends_at is None else max(0.0, sent_with - (ends_at - monotonic()))
    report(active.observed.handler_started, queued)


def tell_ended(active: ActiveRequest, outcome: Outcome, error: BaseException | None) -> None:
    """Called when a request was settled."""
    session = getattr(active, "session", None)
    items = None if session is None or session.sender is None else session.sent - session.start
    report(active.observed.ended, outcome, error, items)


def tell_dropped(
    observer: ServerObserver | None, service: str, request: IncomingRequest, received_at: float, outcome: Outcome
) -> None:
    """Called when a request has ended that had no task, and has arrived at ``received_at`` by the monotonic clock."""
    if observer is not None:
        waited = monotonic() - received_at
        report(observer.request_dropped, ObservedRequest(_shape(request), service, request, waited), outcome)


def with_child_headers(active: ActiveRequest, headers: Headers) -> Headers:
    """Return the headers of a request as a child process sees them."""
    observed = getattr(active, "observed", None)
    changed: Headers | None = None if observed is None else report(observed.child_headers)
    return {**headers, **changed} if changed else headers
