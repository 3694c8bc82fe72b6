"""Decides early that a span is dropped, where the SDK would decide the same for certain.

The SDK takes ten times as long to make a span that nobody will see. So a call that is not sampled gets no span, but
only the ids that its trace context needs. The decision is that of the program's own sampler: it is taken here only for
samplers of the SDK itself whose rule depends on the trace id and the parent alone, with an id of the program's own
generator. For a call that is sampled, the SDK gets that same id, and decides the same. All other samplers, also those
that are derived from the ones of the SDK, are asked each time.
"""

from __future__ import annotations

import copy
import random
import re
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, Tracer, TracerProvider

__all__ = ["Spans", "as_span"]

_SAMPLERS = "opentelemetry.sdk.trace.sampling"
_ROOT = re.compile(r"(?:ParentBased\{root:)?(?:TraceIdRatioBased\{([0-9.e-]+)\}|AlwaysOffSampler)(?:,.*)?", re.DOTALL)
_FOLLOWS = "remoteParentNotSampled:AlwaysOffSampler", "localParentNotSampled:AlwaysOffSampler"
_LOW = (1 << 64) - 1
_RANDOM_IDS = "opentelemetry.sdk.trace.id_generator.RandomIdGenerator"
_AT_ONCE, _FEW = 64, 4
_ZERO = "0" * 16


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
    """Makes the spans of one client or server.

    Attributes:
        follows: whether a span whose parent is not sampled is dropped for certain.
    """

    def __init__(
        self,
        version: str,
        provider: TracerProvider | None = None,
        found: Callable[[TracerProvider], None] | None = None,
    ) -> None:
        """Make nothing yet.

        Args:
            version: that of RabiBridge.
            provider: makes the tracer; ``None``: the provider of the process, whenever it is set.
            found: is told that provider before the first span.
        """
        self._version = version
        self._provider = provider
        self._found = found
        self._tracer: Tracer | None = None
        self._bound = 0
        self._ids: Any = None  # None: the sampler must be asked
        self._drop_flags = TraceFlags(0)
        self._ending = "-00"
        self._at_once = 0  # how many traces are likely to be dropped in a row, where their ids are plain random numbers
        self.follows = False

    def _find(self) -> Tracer | None:
        provider = self._provider or trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider):
            return None  # the program has set none, so far
        tracer = provider.get_tracer("rabibridge", self._version)
        sampler, generator = getattr(tracer, "sampler", None), getattr(tracer, "id_generator", None)
        if sampler is not None and generator is not None and _is_known(sampler):
            text = sampler.get_description()
            self.follows = text.startswith("ParentBased{") and all(part in text for part in _FOLLOWS)
            match = _ROOT.fullmatch(text)
            if match is not None and (self.follows or not text.startswith("P")):
                tracer = copy.copy(tracer)
                self._ids = tracer.id_generator = _ChosenIds(generator)  # type: ignore[attr-defined]
                ratio = float(match[1] or 0)
                self._bound = round(ratio * (_LOW + 1))
                kind = type(generator)
                if f"{kind.__module__}.{kind.__qualname__}" == _RANDOM_IDS:
                    self._at_once = int(min(_AT_ONCE, 1 / ratio)) if ratio else _AT_ONCE
                random = getattr(generator, "is_trace_id_random", None)
                if random is not None and random():
                    self._drop_flags, self._ending = TraceFlags(2), "-02"
        self._tracer = tracer
        if self._found is not None:
            self._found(provider)
        return tracer

    def _drop(self) -> int:
        """Return the id of a trace that begins and is dropped; 0: its first span must be started."""
        ids = self._ids
        if ids is None or ids.trace_id:
            return 0
        trace_id: int = ids.draw()
        if trace_id & _LOW < self._bound:
            ids.trace_id = trace_id
            return 0
        return trace_id

    def dropped_root(self) -> str:
        """Return ``traceparent`` of a span that begins a trace and is not made; empty: :meth:`dropped` decides."""
        if self._tracer is None and self._find() is None:
            return ""
        trace_id = self._drop()
        if not trace_id:
            return ""
        # Formatting an integer takes twice as long.
        span_id = self._ids.generate_span_id().to_bytes(8, "big").hex()
        return f"00-{trace_id.to_bytes(16, 'big').hex()}-{span_id}{self._ending}"

    def dropped_roots(self) -> list[str]:
        """Return what :meth:`dropped_root` would return in a row, made in one go; empty: each must be asked for."""
        if (self._tracer is None and self._find() is None) or self._at_once < _FEW or self._ids.trace_id:
            return []
        bound, ending, made = f"{self._bound:016x}", self._ending, []
        digits = random.randbytes(24 * self._at_once).hex()  # noqa: S311 - the generator of the SDK does the same
        if _ZERO in digits:  # an id may be zero, which stands for none
            return []
        for start in range(0, len(digits), 48):
            span = start + 32
            if digits[start + 16 : span] < bound:
                self._ids.trace_id = int(digits[start:span], 16)
                break
            made.append(f"00-{digits[start:span]}-{digits[span : span + 16]}{ending}")
        return made

    def dropped(self, parent: SpanContext | None) -> SpanContext | None:
        """Return the context of a span that is not made; ``None``: it must be started now, by :meth:`start`.

        Args:
            parent: the context of its parent; ``None``: it has none.
        """
        if self._tracer is None and self._find() is None:
            return parent or trace.INVALID_SPAN_CONTEXT
        if parent is not None:
            return parent if self.follows and not parent.trace_flags & 1 else None
        trace_id = self._drop()
        return SpanContext(trace_id, self._ids.generate_span_id(), False, self._drop_flags) if trace_id else None

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


def _is_known(sampler: object) -> bool:
    """Tell whether a sampler, and those that it delegates to, are classes of the SDK, and not derived from them."""
    delegates = [part for part in getattr(sampler, "__dict__", {}).values() if hasattr(part, "should_sample")]
    return all(type(each).__module__ == _SAMPLERS for each in (sampler, *delegates))


def as_span(started: Span | SpanContext) -> Span:
    """Return a span for what :meth:`Spans.start` has returned."""
    return NonRecordingSpan(started) if isinstance(started, SpanContext) else started
