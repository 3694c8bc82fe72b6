"""Spans and durations of the calls that a client makes."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from rabibridge_core.plugins import CallObserver, ClientObserver
from rabibridge_telemetry._opentelemetry.attributes import SpanAttributes
from rabibridge_telemetry._opentelemetry.durations import Durations
from rabibridge_telemetry._opentelemetry.exceptions import Exceptions
from rabibridge_telemetry._opentelemetry.headers import Propagation
from rabibridge_telemetry._opentelemetry.names import OTHER, error_type, is_unknown_method
from rabibridge_telemetry._opentelemetry.sampling import Spans, as_span

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from rabibridge_core.plugins import Shape, Subject
    from rabibridge_core.transport import Headers

__all__ = ["TracedCalls"]

_KINDS = {"notify": SpanKind.PRODUCER, "map": SpanKind.INTERNAL}
_SUPPRESSED = "suppress_instrumentation"


class TracedCalls(ClientObserver):
    """Makes a span for each call, as a child of the current one."""

    def __init__(self, subject: Subject, version: str) -> None:
        """Trace the calls of ``subject``; ``version`` is that of RabiBridge."""
        self.broker = subject.broker
        self.attributes = SpanAttributes(subject)
        self.exceptions = Exceptions(subject)
        self.propagation = Propagation(subject.settings.baggage)
        self.durations = Durations("rpc.client.call.duration", version, "Duration of calls, as their callers see it")
        self.spans = Spans(version)

    def call_started(self, shape: Shape, service: str) -> CallObserver | None:
        """Start a span."""
        context = contexts.get_current()
        if context.get(_SUPPRESSED):
            return None
        current = trace.get_current_span(context).get_span_context()
        parent = current if current.is_valid else None
        dropped = self.spans.dropped(parent)
        if dropped is not None and shape != "map" and not self.durations.recorded:
            return DroppedCall(self.propagation, dropped, context)
        started: Span | SpanContext | None = dropped
        if started is None:
            kind = _KINDS.get(shape, SpanKind.CLIENT)
            started = self.spans.start(context, service, kind, self.attributes.of(shape, service))
        return TracedCall(self, shape, service, context, started)


class DroppedCall(CallObserver):
    """A call without a span: only its trace context is sent."""

    __slots__ = ("_context", "_propagation", "_span_context")

    def __init__(self, propagation: Propagation, span_context: SpanContext, context: Context) -> None:
        self._propagation = propagation
        self._span_context = span_context
        self._context = context

    def sending(self, correlation_id: bytes, time_left: float | None, headers: Any) -> Headers | None:
        """Add the trace context."""
        return self._propagation.inject(self._span_context, self._context)


class TracedCall(CallObserver):
    """One call."""

    __slots__ = ("_began", "_calls", "_context", "_service", "_shape", "_span", "_span_context")

    def __init__(
        self, calls: TracedCalls, shape: Shape, service: str, context: Context, started: Span | SpanContext
    ) -> None:
        self._calls = calls
        self._shape = shape
        self._service = service
        self._context = context
        if isinstance(started, SpanContext):
            self._span: Span | None = None
            self._span_context = started
        else:
            self._span = started
            self._span_context = started.get_span_context()
        self._began = perf_counter()

    def enter(self) -> None:
        """Make the span current, in the context of the calls of a ``map``, which nobody leaves."""
        span = self._span or as_span(self._span_context)
        contexts.attach(trace.set_span_in_context(span, self._context))

    def sending(self, correlation_id: bytes, time_left: float | None, headers: Any) -> Headers | None:
        """Add the trace context."""
        if (span := self._span) is not None:
            span.set_attribute("messaging.message.conversation_id", correlation_id.decode("utf-8", "backslashreplace"))
            if time_left is not None:
                span.set_attribute("rabibridge.time_left", time_left)
        return self._calls.propagation.inject(self._span_context, self._context)

    def refused(self, retry_in: float) -> None:
        """Note it."""
        if self._span is not None:
            self._span.add_event("rabibridge.refused", {"rabibridge.retry_in": retry_in})

    def lost(self, error: BaseException) -> None:
        """Note it."""
        if self._span is not None:
            self._span.add_event("rabibridge.connection_lost", {"exception.message": str(error)})

    def sent_again(self, correlation_id: bytes) -> None:
        """Note it."""
        if self._span is not None:
            identifier = correlation_id.decode("utf-8", "backslashreplace")
            self._span.add_event("rabibridge.sent_again", {"messaging.message.conversation_id": identifier})

    def ended(self, error: BaseException | None, items: int | None) -> None:
        """End the span, and record the duration."""
        seconds = perf_counter() - self._began
        cancelled = isinstance(error, asyncio.CancelledError | GeneratorExit)
        unknown = is_unknown_method(error)
        kind = "" if error is None else "cancelled" if cancelled else error_type(error)
        if self._shape not in ("map", "stream"):
            self._calls.durations.record(
                seconds, OTHER if unknown else self._service, kind, self._calls.broker(), self._exemplar()
            )
        if (span := self._span) is None:
            return
        try:
            if items is not None:
                span.set_attribute("rabibridge.items", items)
            if unknown:
                span.update_name("rabibridge")
                span.set_attributes({"rpc.method": OTHER, "rpc.method_original": self._service})
            if kind:
                span.set_attribute("error.type", kind)
            if error is not None and not cancelled:
                span.set_status(Status(StatusCode.ERROR, kind))
                self._calls.exceptions.record(span, error, kind)
        finally:
            span.end()

    def _exemplar(self) -> Context | None:
        return None if self._span is None else trace.set_span_in_context(self._span, self._context)
