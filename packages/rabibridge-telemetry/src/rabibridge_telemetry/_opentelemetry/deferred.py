"""Spans that are put together when they are exported.

The SDK takes 25 µs to make a span, and several times as long where few calls have one. Where all processors of a
provider are the SDK's own ``BatchSpanProcessor``, nobody sees a span before it is exported. So until then it consists
of ids, times and attributes, and the thread of the exporter makes the rest, for many spans in a row. Whatever else is
done with a span in progress, such as an event, a link, an error or a look at its attributes, makes it a span of the SDK
at once, with the same ids and the same start.

Only this module and ``deferred_span`` import the SDK. They are imported only where a program uses it.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import ReadableSpan, SynchronousMultiSpanProcessor, Tracer
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import NonRecordingSpan

from rabibridge_telemetry._opentelemetry.deferred_span import EndedSpan, start_deferred

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext

    from rabibridge_telemetry._opentelemetry.deferred_span import DeferredSpan

__all__ = ["DeferredSpans", "deferred_spans"]

_FEW = 64
"""So many attributes are below the limits that programs set, or the limits are applied."""


def deferred_spans(tracer: object) -> DeferredSpans | None:
    """Return what defers the spans of ``tracer``; ``None``: it is of another kind than is known here."""
    if type(tracer) is not Tracer or type(tracer.span_processor) is not SynchronousMultiSpanProcessor:
        return None
    limits, scope = getattr(tracer, "_span_limits", None), getattr(tracer, "_instrumentation_scope", None)
    counts = type(getattr(tracer, "_tracer_metrics", None)).__name__ not in ("NoneType", "NoOpTracerMetrics")
    if limits is None or scope is None or counts:  # the SDK counts the spans that it makes, if it is told to
        return None
    return DeferredSpans(tracer, limits, scope)


class DeferredSpans:
    """Makes the spans of one tracer."""

    def __init__(self, tracer: Tracer, limits: Any, scope: Any) -> None:
        self._tracer = tracer
        self._limits = limits
        self._scope = scope
        self._multiple: Any = tracer.span_processor
        self._seen: tuple[object, object] = None, None
        self._usable = False
        self.start = partial(start_deferred, self)
        """Starts a span: :func:`start_deferred` with all further arguments."""

    @property
    def usable(self) -> bool:
        """Whether nobody sees a span before it is exported, and the tracer is not switched off."""
        processors = getattr(self._multiple, "_span_processors", ())
        config = getattr(self._tracer, "_tracer_config", None)
        seen = self._seen
        if seen[0] is not processors or seen[1] is not config:  # both can be changed at any time
            self._seen = processors, config
            batched = bool(processors) and all(type(each) is BatchSpanProcessor for each in processors)
            self._usable = batched and bool(getattr(config, "is_enabled", True))
        return self._usable

    def export(self, span: DeferredSpan) -> None:
        """Give a span that has ended to the exporters."""
        self._multiple.on_end(EndedSpan(self, span))

    def make(self, span: DeferredSpan) -> Span:
        """Return the span of the SDK for one that is in progress."""
        tracer = copy.copy(self._tracer)  # each has ids of its own: this may run in any thread
        tracer.id_generator = _SameIds(self._tracer.id_generator, span.get_span_context())  # type: ignore[assignment]
        context = span.context_at_start
        if (parent := span.parent_at_start) is not None:
            context = trace.set_span_in_context(NonRecordingSpan(parent), context)
        attributes = {**span.attributes_at_start, **span.further}
        return tracer.start_span(span.service, context, span.kind_at_start, attributes, (), span.began)

    def complete(self, ended: ReadableSpan, span: DeferredSpan) -> None:
        """Put together what an exporter reads of a span."""
        limits, tracer = self._limits, self._tracer
        attributes: Any = {**span.attributes_at_start, **span.further}
        most, length = limits.max_span_attributes, limits.max_span_attribute_length
        if length is not None or len(attributes) > (_FEW if most is None else min(most, _FEW)):
            attributes = BoundedAttributes(most, attributes, immutable=True, max_value_len=length)
        ReadableSpan.__init__(
            ended, span.service, span.get_span_context(), span.parent_at_start, tracer.resource, attributes,
            kind=span.kind_at_start, instrumentation_info=tracer.instrumentation_info,
            start_time=span.began, end_time=span.ended_at, instrumentation_scope=self._scope,
        )  # fmt: skip


class _SameIds:
    """Gives the SDK the ids that a span has already."""

    def __init__(self, generator: Any, context: SpanContext) -> None:
        self._generator = generator
        self._context = context

    def generate_trace_id(self) -> int:
        return self._context.trace_id

    def generate_span_id(self) -> int:
        return self._context.span_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)
