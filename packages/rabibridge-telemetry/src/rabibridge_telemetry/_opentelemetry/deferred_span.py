"""A span that consists of ids, times and attributes until more of it is needed."""

from __future__ import annotations

import threading
from time import time_ns
from typing import TYPE_CHECKING, Any, Final, Protocol

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import Span as SdkSpan
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from rabibridge_core._protocol.headers import TRACEPARENT
from rabibridge_telemetry._opentelemetry.headers import span_context_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode
    from opentelemetry.util.types import Attributes, AttributeValue

__all__ = ["DeferredSpan", "EndedSpan", "SpanMaker", "start_deferred"]

_new = object.__new__

_SIMPLE = frozenset((str, int, float, bool))
_TEXT = frozenset((str,))
_RANDOM: Final = 2
_SAMPLED, _SAMPLED_RANDOM = TraceFlags(1), TraceFlags(1 | _RANDOM)


class SpanMaker(Protocol):
    """What knows the tracer of a span."""

    def export(self, span: DeferredSpan, /) -> None:
        """Give a span that has ended to the exporters."""
        ...

    def make(self, span: DeferredSpan, /) -> Span:
        """Return the span of the SDK for one that is in progress."""
        ...

    def complete(self, ended: ReadableSpan, span: DeferredSpan, /) -> None:
        """Put together what an exporter reads of a span."""
        ...


class EndedSpan(ReadableSpan):
    """A span that has ended. Its parts are there as soon as one of them is read."""

    def __init__(self, spans: SpanMaker, span: DeferredSpan) -> None:
        self._context = span.get_span_context()
        self._parts = spans, span

    def __getattr__(self, name: str) -> Any:  # called for what is not there
        if name.startswith("_") and not name.startswith("__") and "_parts" in self.__dict__:
            spans, span = self._parts
            if "_status" not in self.__dict__:  # several exporters may read at a time: each makes the same
                spans.complete(self, span)
                return getattr(self, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class DeferredSpan(SdkSpan):
    """A span in progress, which the SDK knows nothing of until it must.

    It is one of the SDK's, of which nothing is there: a property that needs a part makes the whole. Its own fields have
    other names than those of the SDK.

    Attributes:
        service: its name.
        context_at_start: what it was started in, beside its parent.
        kind_at_start: its kind.
        attributes_at_start: the attributes that it was started with, not to be changed.
        further: those that were added.
        began: when it was started, in nanoseconds since 1970.
        ended_at: when it ended; ``None``: it has not, or the SDK makes it.
    """

    _spans: SpanMaker
    _ids: SpanContext | str
    _parent_ids: SpanContext | str | None
    _guard: threading.Lock
    _made: Span | None = None
    context_at_start: Context
    service: str
    kind_at_start: SpanKind
    attributes_at_start: dict[str, Any]
    further: dict[str, Any]
    began: int
    ended_at: int | None = None

    @property
    def parent_at_start(self) -> SpanContext | None:
        """The context of its parent; ``None``: it begins a trace."""
        parent = self._parent_ids
        return span_context_of({TRACEPARENT: parent}) if isinstance(parent, str) else parent

    def __repr__(self) -> str:
        """Show the name and the ids."""
        return f'{type(self).__name__}(name="{self.service}", context={self.get_span_context()})'

    def __getattr__(self, name: str) -> Any:
        """Return a part that the SDK reads, such as ``_attributes``."""
        if name.startswith("__") or "began" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        span: Any = EndedSpan(self._spans, self) if self.ended_at is not None else self._real()
        return getattr(span, name)

    def _real(self) -> Span:
        with self._guard:
            if self.ended_at is not None:
                return NonRecordingSpan(self.get_span_context())
            if self._made is None:
                self._made = self._spans.make(self)
            return self._made

    def get_span_context(self) -> SpanContext:
        """Return the ids."""
        ids = self._ids
        if isinstance(ids, str):
            flags = _SAMPLED_RANDOM if int(ids[53:], 16) & _RANDOM else _SAMPLED
            ids = self._ids = SpanContext(int(ids[3:35], 16), int(ids[36:52], 16), False, flags)
        return ids

    @property
    def context(self) -> SpanContext:
        """The ids."""
        return self.get_span_context()

    def note(self, attributes: dict[str, Any]) -> None:
        """Add attributes that the SDK would take as they are, while nobody else has the span."""
        if self._made is None:
            self.further.update(attributes)
        else:
            self._made.set_attributes(attributes)

    def is_recording(self) -> bool:
        """Tell whether it is in progress."""
        return self.ended_at is None if self._made is None else self._made.is_recording()

    def set_attribute(self, key: str, value: AttributeValue) -> None:
        """Add an attribute."""
        if not self._added({key: value}):
            self._real().set_attribute(key, value)

    def set_attributes(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Add attributes."""
        if not self._added(attributes):
            self._real().set_attributes(attributes)

    def _added(self, attributes: Mapping[str, AttributeValue]) -> bool:
        """Add what the SDK would take as it is; return whether nothing is left to do."""
        names, values = map(type, attributes), map(type, attributes.values())
        if "" in attributes or not (_TEXT.issuperset(names) and _SIMPLE.issuperset(values)):
            return False
        with self._guard:
            if self._made is not None:
                return False
            if self.ended_at is None:
                self.further.update(attributes)
            return True

    def add_event(self, name: str, attributes: Attributes = None, timestamp: int | None = None) -> None:
        """Add an event."""
        self._real().add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Add a link."""
        self._real().add_link(context, attributes)

    def update_name(self, name: str) -> None:
        """Change the name."""
        self._real().update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status."""
        self._real().set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Add an exception."""
        self._real().record_exception(exception, attributes, timestamp, escaped)

    def end(self, end_time: int | None = None) -> None:
        """End it; no effect if it has ended."""
        with self._guard:
            made = self._made
            if made is None:
                if self.ended_at is not None:
                    return
                self.ended_at = time_ns() if end_time is None else end_time
        if made is None:
            self._spans.export(self)
        else:
            made.end(end_time)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """End it, with the exception that left its block."""
        if exc_val is None:
            self.end()
        else:
            self._real().__exit__(exc_type, exc_val, exc_tb)


def start_deferred(
    spans: SpanMaker,
    ids: SpanContext | str,
    parent: SpanContext | str | None,
    context: Context,
    name: str,
    kind: SpanKind,
    attributes: dict[str, Any],
    further: dict[str, Any],
) -> DeferredSpan:
    """Start a span now.

    Args:
        spans: makes it.
        ids: its context, or the header ``traceparent`` with it.
        parent: the same of its parent; ``None``: it begins a trace.
        context: what it is started in, beside its parent.
        name: its name.
        kind: its kind.
        attributes: its attributes, not to be changed.
        further: further attributes, which are its own.
    """
    span = _new(DeferredSpan)  # the constructors of the SDK take longer than all of this
    span._spans = spans
    span._ids = ids
    span._parent_ids = parent
    span._guard = threading.Lock()
    span.context_at_start = context
    span.service = name
    span.kind_at_start = kind
    span.attributes_at_start = attributes
    span.further = further
    span.began = time_ns()
    return span
