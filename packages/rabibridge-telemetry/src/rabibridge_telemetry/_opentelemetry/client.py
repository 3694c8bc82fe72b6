"""Spans and durations of the calls that a client makes."""

from __future__ import annotations

import asyncio
import os
import weakref
from time import perf_counter
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode

from rabibridge_core._protocol.headers import TRACEPARENT
from rabibridge_core.plugins import CallHeaders, CallObserver, ClientObserver
from rabibridge_telemetry._opentelemetry.attributes import SpanAttributes
from rabibridge_telemetry._opentelemetry.durations import Durations
from rabibridge_telemetry._opentelemetry.exceptions import Exceptions
from rabibridge_telemetry._opentelemetry.headers import NOTHING, SPAN_KEY, Propagation
from rabibridge_telemetry._opentelemetry.names import OTHER, error_type, is_unknown_method
from rabibridge_telemetry._opentelemetry.sampling import Spans, as_span
from rabibridge_telemetry._opentelemetry.unsampled import (
    UnsampledContext,
    UnsampledParent,
    attach,
    current_context,
    plain_headers,
)

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from rabibridge_core.plugins import Shape, Subject
    from rabibridge_core.transport import Headers
    from rabibridge_telemetry._opentelemetry.deferred_span import DeferredSpan

__all__ = ["TracedCalls"]

_new = object.__new__
_CLIENT = SpanKind.CLIENT
_KINDS = {"notify": SpanKind.PRODUCER, "map": SpanKind.INTERNAL}
_NOT_MEASURED = frozenset(("map", "stream"))
_SUPPRESSED = "suppress_instrumentation"
_CANCELLED = "cancelled"
_with_prepared: weakref.WeakSet[TracedCalls] = weakref.WeakSet()


def _forked() -> None:
    """Drop the ids that this process has in common with the one that it was forked from."""
    for calls in _with_prepared:
        calls.prepared.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class TracedCalls(ClientObserver):
    """Makes a span for each call, as a child of the current one.

    Attributes:
        prepared: the header ``traceparent`` of the next calls that begin a trace, are not sampled and not measured.
            Where few are sampled, these are most of all calls; to make many at once takes half the time. No more than
            texts are prepared: objects are made in less time from memory that was just given back.
    """

    def __init__(self, subject: Subject, version: str) -> None:
        """Trace the calls of ``subject``; ``version`` is that of RabiBridge."""
        self.broker = subject.broker
        self.attributes = SpanAttributes(subject)
        self.exceptions = Exceptions(subject)
        self.propagation = Propagation(subject.settings.baggage)
        self.durations = Durations("rpc.client.call.duration", version, "Duration of calls, as their callers see it")
        self.spans = Spans(version)
        self.prepared: list[str] = []
        _with_prepared.add(self)

    def call_started(self, shape: Shape, service: str) -> CallObserver | None:
        """Start a span, unless it is dropped: then only its trace context is sent."""
        context = current_context()
        if not context and shape != "map":
            if self.prepared:
                prepared = _new(CallHeaders)  # its constructor takes as long as all else here
                prepared.headers, prepared.checked = {TRACEPARENT: self.prepared.pop()}, True
                return prepared
            if self.spans.begins and self.propagation.is_plain:
                kind, attributes = _KINDS.get(shape, _CLIENT), self.attributes.of(shape, service)
                begun = self.spans.start_root(service, kind, attributes)
                if begun is not None:
                    measured = shape not in _NOT_MEASURED and self.durations.recorded
                    return BegunCall(self, service, context, begun, measured)
        if context and type(context) is not UnsampledContext and context.get(_SUPPRESSED):
            return None
        measured = shape not in _NOT_MEASURED and self.durations.recorded
        if shape == "map":
            started: Span | SpanContext | None = self.spans.dropped(_parent_of(context))
        else:
            headers = self._dropped(context)
            if headers is not None:
                if measured:
                    return MeasuredCall(self, service, headers)
                if not self.prepared:
                    self._prepare()
                return CallHeaders(headers)
            started = None
        if started is None:
            kind = _KINDS.get(shape, _CLIENT)
            started = self.spans.start(context, service, kind, self.attributes.of(shape, service))
        return TracedCall(self, service, context, started, measured)

    def _prepare(self) -> None:
        if self.propagation.is_plain and not self.durations.look():
            self.prepared = self.spans.dropped_roots()

    def _dropped(self, context: Context) -> Headers | None:
        """Return the headers of a call without a span; ``None``: it has one."""
        if self.propagation.is_plain:
            if type(context) is UnsampledContext and self.spans.follows and (headers := plain_headers(context.headers)):
                return headers
            span = context.get(SPAN_KEY) if context else None
            if span is None:
                text = self.spans.dropped_root()
                if text:
                    return {TRACEPARENT: text}
                if self.spans.begins:
                    return None
            elif type(span) is UnsampledParent and self.spans.follows and (headers := span.plain_headers()):
                return headers
        dropped = self.spans.dropped(_parent_of(context))
        return None if dropped is None else self.propagation.inject(dropped, context)

    def record(self, began: float, service: str, error: BaseException | None, context: Context) -> None:
        """Record the duration of a call that has ended."""
        seconds = perf_counter() - began
        method = OTHER if error is not None and is_unknown_method(error) else service
        self.durations.record(seconds, method, _kind_of(error), self.broker(), context)


class MeasuredCall(CallObserver):
    """A call without a span, whose duration is recorded."""

    __slots__ = ("_began", "_calls", "_headers", "_service")

    def __init__(self, calls: TracedCalls, service: str, headers: Headers) -> None:
        self._calls = calls
        self._service = service
        self._headers = headers
        self._began = perf_counter()

    def sending(self, correlation_id: bytes, time_left: float | None, headers: Any) -> Headers | None:
        """Add the trace context."""
        return self._headers

    def ended(self, error: BaseException | None, items: int | None) -> None:
        """Record the duration."""
        self._calls.record(self._began, self._service, error, NOTHING)


class TracedCall(CallObserver):
    """One call."""

    __slots__ = ("_began", "_calls", "_context", "_measured", "_service", "_span", "_started")

    def __init__(
        self, calls: TracedCalls, service: str, context: Context, started: Span | SpanContext, measured: bool
    ) -> None:
        self._calls = calls
        self._measured = measured
        self._service = service
        self._context = context
        self._started = started
        self._span = None if isinstance(started, SpanContext) else started
        self._began = perf_counter()

    def enter(self) -> None:
        """Make the span current, in the context of the calls of a ``map``, which nobody leaves."""
        attach(trace.set_span_in_context(as_span(self._started), self._context))

    def sending(self, correlation_id: bytes, time_left: float | None, headers: Any) -> Headers | None:
        """Add the trace context."""
        if (span := self._span) is not None:
            span.set_attributes(_of_attempt(correlation_id, time_left))
        started = self._started
        identified = started if isinstance(started, SpanContext) else started.get_span_context()
        return self._calls.propagation.inject(identified, self._context)

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

    def hedge_sent(self, correlation_id: bytes, after: float) -> None:
        """Note it."""
        if self._span is not None:
            identifier = correlation_id.decode("utf-8", "backslashreplace")
            self._span.add_event(
                "rabibridge.hedge_sent",
                {"messaging.message.conversation_id": identifier, "rabibridge.hedge.after": after},
            )

    def hedge_answered(self, *, second: bool) -> None:
        """Note it."""
        if self._span is not None:
            self._span.set_attribute("rabibridge.hedge.answer", "second" if second else "first")

    def ended(self, error: BaseException | None, items: int | None) -> None:
        """End the span, and record the duration."""
        span = self._span
        if self._measured:
            within = NOTHING if span is None else trace.set_span_in_context(span, self._context)
            self._calls.record(self._began, self._service, error, within)
        if span is None:
            return
        try:
            if items is not None:
                span.set_attribute("rabibridge.items", items)
            if error is not None:
                self._note_error(span, error)
        finally:
            span.end()

    def _note_error(self, span: Span, error: BaseException) -> None:
        kind = _kind_of(error)
        if is_unknown_method(error):
            span.update_name("rabibridge")
            span.set_attributes({"rpc.method": OTHER, "rpc.method_original": self._service})
        if kind:
            span.set_attribute("error.type", kind)
        if kind != _CANCELLED:
            span.set_status(Status(StatusCode.ERROR, kind))
            self._calls.exceptions.record(span, error, kind)


class BegunCall(TracedCall):
    """A call that begins a trace, with a span that is deferred."""

    __slots__ = ("_deferred", "_header")

    def __init__(
        self, calls: TracedCalls, service: str, context: Context, begun: tuple[DeferredSpan, str], measured: bool
    ) -> None:
        self._deferred, self._header = begun
        super().__init__(calls, service, context, self._deferred, measured)

    def sending(self, correlation_id: bytes, time_left: float | None, headers: Any) -> Headers | None:
        """Add the trace context."""
        self._deferred.note(_of_attempt(correlation_id, time_left))
        return {TRACEPARENT: self._header}


def _of_attempt(correlation_id: bytes, time_left: float | None) -> dict[str, str | float]:
    identifier = correlation_id.decode("utf-8", "backslashreplace")
    attributes: dict[str, str | float] = {"messaging.message.conversation_id": identifier}
    if time_left is not None:
        attributes["rabibridge.time_left"] = time_left
    return attributes


def _parent_of(context: Context) -> SpanContext | None:
    current = trace.get_current_span(context).get_span_context()
    return current if current.is_valid else None


def _kind_of(error: BaseException | None) -> str:
    """Return ``error.type``; empty: none."""
    if error is None:
        return ""
    return _CANCELLED if isinstance(error, asyncio.CancelledError | GeneratorExit) else error_type(error)
