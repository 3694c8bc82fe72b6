"""Decides early that a span is dropped, where the SDK would decide the same for certain.

The SDK takes ten times as long to make a span that nobody will see. So a call that is not sampled gets no span, but
only the ids that its trace context needs. The decision is that of the program's own sampler: it is taken here only for
samplers whose rule is known and depends on the trace id and the parent alone, with an id of the program's own
generator. For a call that is sampled, the SDK gets that same id, and decides the same. All other samplers are asked
each time.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, Tracer, TracerProvider

__all__ = ["Spans", "as_span"]

_RATIO = re.compile(r"(?:ParentBased\{root:)?TraceIdRatioBased\{([0-9.e-]+)\}.*")
_FOLLOWS = "remoteParentNotSampled:AlwaysOffSampler", "localParentNotSampled:AlwaysOffSampler"
_LOW = (1 << 64) - 1


class _ChosenIds:
    """Gives the SDK the trace id that the decision was taken for."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self.draw = generator.generate_trace_id
        self.generate_span_id = generator.generate_span_id
        self.trace_id = 0

    def generate_trace_id(self) -> int:
        chosen, self.trace_id = self.trace_id, 0
        return chosen or int(self.draw())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._generator, name)


class Spans:
    """Makes the spans of one client or server."""

    def __init__(self, version: str, provider: TracerProvider | None = None) -> None:
        """Make nothing yet.

        Args:
            version: that of RabiBridge.
            provider: makes the tracer; ``None``: the provider of the process, whenever it is set.
        """
        self._version = version
        self._provider = provider
        self._tracer: Tracer | None = None
        self._bound: int | None = None
        self._follows = False
        self._ids: Any = None
        self._drop_flags = TraceFlags(0)

    @property
    def follows(self) -> bool:
        """Whether a span whose parent is not sampled is dropped for certain."""
        return self._follows

    def _find(self) -> Tracer | None:
        provider = self._provider or trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider):
            return None  # the program has set none, so far
        tracer = provider.get_tracer("rabibridge", self._version)
        sampler, generator = getattr(tracer, "sampler", None), getattr(tracer, "id_generator", None)
        if sampler is not None and generator is not None:
            text = sampler.get_description()
            self._follows = text.startswith("ParentBased{") and all(part in text for part in _FOLLOWS)
            if (match := _RATIO.fullmatch(text)) is not None and (text.startswith("T") or self._follows):
                tracer = copy.copy(tracer)
                self._ids = tracer.id_generator = _ChosenIds(generator)  # type: ignore[attr-defined]
                self._bound = round(float(match[1]) * (_LOW + 1))
                random = getattr(generator, "is_trace_id_random", None)
                if random is not None and random():
                    self._drop_flags = TraceFlags(2)
        self._tracer = tracer
        return tracer

    def dropped(self, parent: SpanContext | None) -> SpanContext | None:
        """Return the context of a span that is not made; ``None``: it must be started now, by :meth:`start`.

        Args:
            parent: the context of its parent; ``None``: it has none.
        """
        if self._tracer is None and self._find() is None:
            return parent or trace.INVALID_SPAN_CONTEXT
        if parent is not None:
            return parent if self._follows and not parent.trace_flags & 1 else None
        if self._bound is None:
            return None
        trace_id = self._ids.draw()
        if trace_id & _LOW < self._bound:
            self._ids.trace_id = trace_id
            return None
        return SpanContext(trace_id, self._ids.generate_span_id(), False, self._drop_flags)

    def start(self, context: Context, name: str, kind: SpanKind, attributes: dict[str, Any]) -> Span | SpanContext:
        """Start a span that is not dropped; or return its context, if the SDK drops it all the same.

        Args:
            context: what the span is made in, with its parent.
            name: its name.
            kind: its kind.
            attributes: its attributes, not to be changed.
        """
        assert self._tracer is not None
        span = self._tracer.start_span(name, context, kind, attributes)
        return span if span.is_recording() else span.get_span_context()


def as_span(started: Span | SpanContext) -> Span:
    """Return a span for what :meth:`Spans.start` has returned."""
    return NonRecordingSpan(started) if isinstance(started, SpanContext) else started
