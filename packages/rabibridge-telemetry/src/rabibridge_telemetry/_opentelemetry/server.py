"""Spans and durations of the requests that a worker processes."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode

from rabibridge_core._protocol.headers import TRACEPARENT
from rabibridge_core.plugins import RequestObserver, ServerObserver
from rabibridge_telemetry._opentelemetry.attributes import SpanAttributes
from rabibridge_telemetry._opentelemetry.durations import LOOK_EVERY, Durations
from rabibridge_telemetry._opentelemetry.ending import limit_end
from rabibridge_telemetry._opentelemetry.exceptions import Exceptions
from rabibridge_telemetry._opentelemetry.headers import NOTHING, SPAN_KEY, Propagation
from rabibridge_telemetry._opentelemetry.names import MAX_TYPES, Folded, error_type
from rabibridge_telemetry._opentelemetry.sampling import Spans, as_span
from rabibridge_telemetry._opentelemetry.unsampled import UnsampledContext, attach, is_sampled, is_unsampled

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from rabibridge_core.plugins import ObservedRequest, Outcome, Subject
    from rabibridge_core.transport import Headers, IncomingRequest

__all__ = ["TracedRequests"]

_ERRORS = frozenset(("failed", "expired", "dead"))
"""The outcomes that are errors of the service; those that it declares, refuses or is told to drop are not."""


class TracedRequests(ServerObserver):
    """Makes a span for each request, as a child of its caller's, and lets the function run in it.

    Whatever the task inherits from the code that made the connection or from another request is not seen: a request
    without trace context begins a trace.
    """

    def __init__(self, subject: Subject, version: str) -> None:
        """Trace the requests of ``subject``; ``version`` is that of RabiBridge."""
        self.broker = subject.broker
        self.attributes = SpanAttributes(subject)
        self.exceptions = Exceptions(subject)
        self.propagation = Propagation(subject.settings.baggage)
        self.spans = Spans(version, found=limit_end)
        self.types = Folded(MAX_TYPES)
        self.in_child = subject.role == "child"
        self._kinds = (SpanKind.INTERNAL,) * 2 if self.in_child else (SpanKind.SERVER, SpanKind.CONSUMER)
        self._unlooked = 0  # so many requests may be skipped until it is looked whether they still may
        self.durations: Durations | None = None
        if not self.in_child:  # the worker measures the call as a whole
            self.durations = Durations(
                "rpc.server.call.duration", version, "Duration of requests in their worker", limit_end
            )

    def skips(self, request: IncomingRequest) -> bool:
        """Skip a request whose caller's span is not sampled, unless it is measured; only make that span current."""
        if not self._unlooked and not self._may_skip():
            return False
        self._unlooked -= 1
        headers = request.headers
        text = headers.get(TRACEPARENT)
        if type(text) is not str or not is_unsampled(text):
            return False
        context = UnsampledContext()  # it has no constructor of its own, which would take as long as the rest
        context.headers = headers
        attach(context)
        return True

    def _may_skip(self) -> bool:
        """Tell whether nothing is to be done for such a request, and for those that follow."""
        follows = self.spans.follows and self.propagation.is_plain
        if not follows or (self.durations is not None and self.durations.look()):
            return False
        self._unlooked = LOOK_EVERY
        return True

    def request_started(self, request: ObservedRequest) -> RequestObserver | None:
        """Start a span, and make it current for the task."""
        shape, service, incoming, waited = request
        headers = incoming.headers
        kind = self._kinds[shape == "notify"]
        started: Span | SpanContext | None = None
        context = NOTHING
        if self.spans.follows and self.propagation.is_plain and type(text := headers.get(TRACEPARENT)) is str:
            if is_unsampled(text):
                unsampled = UnsampledContext()
                unsampled.headers = headers
                attach(unsampled)
                measured = self.durations is not None and self.durations.recorded
                return MeasuredRequest(self, service, waited) if measured else None
            if is_sampled(text) and "tracestate" not in headers:
                attributes, further = self.attributes.of(shape, service), _further(incoming)
                started = self.spans.start_child(text, service, kind, attributes, further)
        if started is None:
            started, context = self._start(request, kind)
        within = Context({**context, SPAN_KEY: as_span(started)})
        attach(within)  # nobody detaches it: the context is that of the task, and ends with it
        return TracedRequest(self, request, within, started)

    def _start(self, request: ObservedRequest, kind: SpanKind) -> tuple[Span | SpanContext, Context]:
        """Return a span, or the ids of one that is dropped, and the context that it is made in."""
        parent, context = self.propagation.extract(request.request.headers)
        dropped = self.spans.dropped(parent)
        if dropped is not None:
            return dropped, context
        before = context if parent is None else trace.set_span_in_context(NonRecordingSpan(parent), context)
        attributes = self.attributes.of(request.shape, request.service)
        started = self.spans.start(before, request.service, kind, attributes)
        if not isinstance(started, SpanContext):
            started.set_attributes(_further(request.request))
        return started, context

    def request_dropped(self, request: ObservedRequest, outcome: Outcome) -> None:
        """Record a request that was never begun: it has no span, since nothing was done for it."""
        if self.durations is not None:
            self.durations.record(request.waited, request.service, outcome, self.broker(), NOTHING)

    def record(self, began: float, service: str, kind: str, context: Context) -> None:
        """Record the duration of a request that was settled."""
        if self.durations is not None and self.durations.recorded:
            self.durations.record(perf_counter() - began, service, kind, self.broker(), context)

    def kind_of(self, outcome: Outcome, error: BaseException | None) -> str:
        """Return ``error.type``; empty: none."""
        if outcome in ("failed", "declared") and error is not None:
            return self.types(error_type(error))
        return "" if outcome == "succeeded" else outcome


class MeasuredRequest(RequestObserver):
    """A request without a span, whose duration is recorded."""

    __slots__ = ("_began", "_requests", "_service")

    def __init__(self, requests: TracedRequests, service: str, waited: float) -> None:
        self._requests = requests
        self._service = service
        self._began = perf_counter() - waited

    def ended(self, outcome: Outcome, error: BaseException | None, items: int | None) -> None:
        """Record the duration."""
        requests = self._requests
        requests.record(self._began, self._service, requests.kind_of(outcome, error), NOTHING)


class TracedRequest(RequestObserver):
    """One request with a span, or one that begins a trace that is not sampled."""

    __slots__ = ("_began", "_context", "_requests", "_service", "_span", "_started", "_waited")

    def __init__(
        self, requests: TracedRequests, request: ObservedRequest, context: Context, started: Span | SpanContext
    ) -> None:
        self._requests = requests
        self._service = request.service
        self._context = context
        self._waited = request.waited
        self._started = started
        self._span = None if isinstance(started, SpanContext) else started
        self._began = perf_counter() - request.waited

    def handler_started(self, queued: float | None) -> None:
        """Note how long the request has waited."""
        if self._span is not None:
            attributes = {"rabibridge.worker_wait.duration": self._waited}
            if queued is not None:
                attributes["rabibridge.queue.duration"] = queued
            self._span.set_attributes(attributes)

    def child_headers(self) -> Headers | None:
        """Let the span of the child process be a child of this one."""
        span = self._started
        identified = span if isinstance(span, SpanContext) else span.get_span_context()
        return self._requests.propagation.inject(identified, self._context)

    def ended(self, outcome: Outcome, error: BaseException | None, items: int | None) -> None:
        """End the span, and record the duration."""
        requests, span = self._requests, self._span
        kind = "" if outcome == "succeeded" else requests.kind_of(outcome, error)
        requests.record(self._began, self._service, kind, NOTHING if span is None else self._context)
        if span is None:
            return
        try:
            if items is not None:
                span.set_attribute("rabibridge.items", items)
            if kind:
                span.set_attributes({"error.type": kind, "rabibridge.outcome": outcome})
            if outcome in _ERRORS:
                span.set_status(Status(StatusCode.ERROR, kind))
                if error is not None:
                    requests.exceptions.record(span, error, kind)
        finally:
            span.end()


def _further(request: IncomingRequest) -> dict[str, str | int]:
    """Return the attributes of one request alone."""
    further: dict[str, str | int] = {
        "messaging.message.conversation_id": request.correlation_id.decode("utf-8", "backslashreplace")
    }
    if request.redelivered or request.deliveries:
        further["rabibridge.redelivered"] = True
        further["rabibridge.attempt"] = max(request.deliveries, 1) + 1
    return further
