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
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import Span, SpanKind, Tracer, TracerProvider

    from rabibridge_telemetry._opentelemetry.deferred import DeferredSpans
    from rabibridge_telemetry._opentelemetry.deferred_span import DeferredSpan

__all__ = ["Spans", "as_span"]

_SAMPLERS = "opentelemetry.sdk.trace.sampling"
_ROOT = re.compile(
    r"(?:ParentBased\{root:)?(?:TraceIdRatioBased\{([0-9.e-]+)\}|Always(On|Off)Sampler)(?:,.*)?", re.DOTALL
)
_FOLLOWS = "remoteParentNotSampled:AlwaysOffSampler", "localParentNotSampled:AlwaysOffSampler"
_TAKES = "remoteParentSampled:AlwaysOnSampler", "localParentSampled:AlwaysOnSampler"
_LOW = (1 << 64) - 1
_RANDOM_IDS = "opentelemetry.sdk.trace.id_generator.RandomIdGenerator"
_AT_ONCE, _FEW = 64, 4
_ZERO = "0" * 16
_SDK = "opentelemetry.sdk.trace"
_RANDOM = 2
"""The flag of W3C Trace Context that the trace id is random."""
_SAMPLED, _SAMPLED_RANDOM = TraceFlags(1), TraceFlags(1 | _RANDOM)
_EMPTY = Context()


class _ChosenIds:
    """Gives the SDK the trace id that the decision was taken for."""

    def __init__(self, generator: Any) -> None:
        self._generator = generator
        self.draw = generator.generate_trace_id
        self.generate_span_id = generator.generate_span_id
        self.trace_id = 0  # of the trace that begins next; 0: it is yet to be drawn
        self.digits = ""  # that id and the id of a span, if both were drawn together

    def chosen(self) -> int:
        """Return the id of the trace that begins now; 0: there is none."""
        trace_id, self.trace_id, self.digits = self.trace_id, 0, ""
        return trace_id

    def generate_trace_id(self) -> int:
        return self.chosen() or int(self.draw())

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
        self._ending, self._recorded_ending = "-00", "-01"
        self._at_once = 0  # how many traces are likely to be dropped in a row, where their ids are plain random numbers
        self.follows = False
        self._takes = False  # whether a span whose parent is sampled is recorded for certain
        self._deferred: DeferredSpans | None = None
        self._inherited = 0  # which flags beside "sampled" a span has from its parent

    def _find(self) -> Tracer | None:
        provider = self._provider or trace.get_tracer_provider()
        if isinstance(provider, trace.ProxyTracerProvider):
            return None  # the program has set none, so far
        tracer = provider.get_tracer("rabibridge", self._version)
        sampler, generator = getattr(tracer, "sampler", None), getattr(tracer, "id_generator", None)
        if sampler is not None and generator is not None and _is_known(sampler):
            text = sampler.get_description()
            if text.startswith("ParentBased{"):
                self.follows = all(part in text for part in _FOLLOWS)
                self._takes = all(part in text for part in _TAKES)
            match = _ROOT.fullmatch(text)
            if match is not None and (self.follows or not text.startswith("P")):
                if type(tracer).__module__ == _SDK:
                    from rabibridge_telemetry._opentelemetry.deferred import deferred_spans  # imports the SDK

                    self._deferred = deferred_spans(tracer)
                tracer = copy.copy(tracer)
                self._ids = tracer.id_generator = _ChosenIds(generator)  # type: ignore[attr-defined]
                ratio = float(match[1] or match[2] == "On")
                self._bound = round(ratio * (_LOW + 1))
                kind = type(generator)
                if f"{kind.__module__}.{kind.__qualname__}" == _RANDOM_IDS:
                    self._at_once = int(min(_AT_ONCE, 1 / ratio)) if ratio else _AT_ONCE
                random = getattr(generator, "is_trace_id_random", None)
                if random is not None:
                    self._inherited = _RANDOM
                    if random():
                        self._drop_flags, self._ending, self._recorded_ending = TraceFlags(_RANDOM), "-02", "-03"
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
        # The upper halves of these trace ids are the same: the lower ones are enough to tell them apart.
        digits = random.randbytes(8 + 16 * self._at_once).hex(" ", 8)  # noqa: S311 - the generator of the SDK does it, too
        parts = iter(digits.split())
        upper = next(parts)
        for lower, span in zip(parts, parts, strict=True):
            if lower < bound:
                self._ids.trace_id = int(upper + lower, 16)
                self._ids.digits = upper + lower + span
                break
            made.append(f"00-{upper}{lower}-{span}{ending}")
        if _ZERO in digits:  # an id may be zero, which stands for none
            self._ids.chosen()
            return []
        return made

    @property
    def begins(self) -> bool:
        """Whether the last trace that was to begin is not dropped, so that :meth:`start` must begin it."""
        return self._ids is not None and self._ids.trace_id != 0

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
        if self._deferred is not None and self._deferred.usable:
            parent = trace.get_current_span(context).get_span_context() if context else trace.INVALID_SPAN_CONTEXT
            found = self._identified(parent)
            if found is not None:
                before = parent if parent.is_valid else None
                return self._deferred.start(found, before, context, name, kind, attributes, {})
        span = self._tracer.start_span(name, context, kind, attributes)
        return span if span.is_recording() else span.get_span_context()

    def start_root(self, name: str, kind: SpanKind, attributes: dict[str, Any]) -> tuple[DeferredSpan, str] | None:
        """Start a span that :attr:`begins` a trace, in no context, and is deferred; ``None``: :meth:`start` must do it.

        Args:
            name: its name.
            kind: its kind.
            attributes: its attributes, not to be changed.

        Returns:
            The span, and the header ``traceparent`` for it.
        """
        if self._deferred is None or not self._deferred.usable:
            return None
        ids = self._ids
        digits = ids.digits or f"{ids.trace_id:032x}{ids.generate_span_id():016x}"
        ids.chosen()
        header = f"00-{digits[:32]}-{digits[32:]}{self._recorded_ending}"
        return self._deferred.start(header, None, _EMPTY, name, kind, attributes, {}), header

    def start_child(
        self, parent: str, name: str, kind: SpanKind, attributes: dict[str, Any], further: dict[str, Any]
    ) -> Span | None:
        """Start a span that is deferred; ``None``: :meth:`start` must start it.

        Args:
            parent: the header ``traceparent`` of a parent that is sampled, which is valid and of version 00.
            name: its name.
            kind: its kind.
            attributes: its attributes, not to be changed.
            further: further attributes, which are its own.
        """
        if self._deferred is None or not self._takes or not self._deferred.usable:
            return None
        flags = _SAMPLED_RANDOM if int(parent[53:], 16) & self._inherited else _SAMPLED
        found = SpanContext(int(parent[3:35], 16), self._ids.generate_span_id(), False, flags)
        return self._deferred.start(found, parent, _EMPTY, name, kind, attributes, further)

    def _identified(self, parent: SpanContext) -> SpanContext | None:
        """Return the ids of a span that the SDK records for certain; ``None``: it must be asked."""
        ids = self._ids
        if not parent.is_valid:
            trace_id = ids.chosen()
            if not trace_id:
                return None
            return SpanContext(
                trace_id, ids.generate_span_id(), False, _SAMPLED_RANDOM if self._drop_flags else _SAMPLED
            )
        flags = parent.trace_flags
        if not (self._takes and flags & 1):
            return None
        flags = _SAMPLED_RANDOM if flags & self._inherited else _SAMPLED
        return SpanContext(parent.trace_id, ids.generate_span_id(), False, flags, parent.trace_state)


def _is_known(sampler: object) -> bool:
    """Tell whether a sampler, and those that it delegates to, are classes of the SDK, and not derived from them."""
    delegates = [part for part in getattr(sampler, "__dict__", {}).values() if hasattr(part, "should_sample")]
    return all(type(each).__module__ == _SAMPLERS for each in (sampler, *delegates))


def as_span(started: Span | SpanContext) -> Span:
    """Return a span for what :meth:`Spans.start` has returned."""
    return NonRecordingSpan(started) if isinstance(started, SpanContext) else started
