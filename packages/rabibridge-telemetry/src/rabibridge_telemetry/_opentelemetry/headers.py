"""Trace context and baggage in the headers of calls, by the W3C recommendations.

What comes from outside is read within limits, whatever it says: a call is served, with or without a parent.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from opentelemetry import baggage, propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import default_setter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState

from rabibridge_core._protocol.headers import TRACEPARENT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rabibridge_core.transport import Headers

__all__ = [
    "NOTHING",
    "SPAN_KEY",
    "Propagation",
    "span_context_of",
    "traceparent",
]

_TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII
)
_TRACESTATE_MAX = 512
_BAGGAGE_BYTES, _BAGGAGE_ENTRIES = 8192, 64
_W3C = frozenset(("traceparent", "tracestate", "baggage"))
NOTHING = Context()
SPAN_KEY: Final = next(iter(trace.set_span_in_context(trace.INVALID_SPAN, NOTHING)))
"""The entry of a context that is the current span."""


def traceparent(context: SpanContext) -> str:
    """Return the header for a span context."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def span_context_of(headers: Headers) -> SpanContext | None:
    """Return the context of the caller's span; ``None``: the headers have none that is valid."""
    parent = headers.get(TRACEPARENT)
    if not isinstance(parent, str) or (match := _TRACEPARENT.fullmatch(parent)) is None:
        return None
    trace_id, span_id, flags, more = match.groups()
    if more and parent.startswith("00"):
        return None
    state, given = None, headers.get("tracestate")
    if isinstance(given, str) and 0 < len(given) <= _TRACESTATE_MAX:
        state = TraceState.from_header([given])
    return SpanContext(int(trace_id, 16), int(span_id, 16), True, TraceFlags(int(flags, 16)), state)


class Propagation:
    """Writes and reads the headers of one client or server."""

    __slots__ = ("_baggage", "_others", "is_plain")

    def __init__(self, allowed: tuple[str, ...]) -> None:
        """Pass on those entries of the baggage that are ``allowed``, and no others."""
        self._baggage = frozenset(allowed)
        # Another format, such as B3, is chosen for the whole process, by OTEL_PROPAGATORS.
        fields = propagate.get_global_textmap().fields
        self._others = None if "traceparent" in fields and fields <= _W3C else propagate.get_global_textmap()
        self.is_plain = not allowed and self._others is None
        """Whether nothing but W3C trace context is sent and read."""

    def inject(self, span: SpanContext, context: Context) -> dict[str, str]:
        """Return the headers for a call whose span is ``span``, and that is made in ``context``."""
        headers: dict[str, str] = {}
        if self._others is not None:
            parent = trace.set_span_in_context(NonRecordingSpan(span), baggage.clear(context))
            self._others.inject(headers, parent, default_setter)
        elif span.is_valid:
            headers[TRACEPARENT] = traceparent(span)
            if span.trace_state:
                headers["tracestate"] = span.trace_state.to_header()
        if self._baggage and (entries := baggage.get_all(context)):
            text = self._encoded(entries)
            if text:
                headers["baggage"] = text
        return headers

    def extract(self, headers: Headers) -> tuple[SpanContext | None, Context]:
        """Return the context of the caller's span, and a context with what may come in of its baggage."""
        if self._others is not None:
            texts = {name: value for name, value in headers.items() if type(value) is str}
            found = trace.get_current_span(self._others.extract(texts, NOTHING)).get_span_context()
            parent = found if found.is_valid else None
        else:
            parent = span_context_of(headers)
        context = NOTHING
        if self._baggage and isinstance(text := headers.get("baggage"), str):
            for name, value in self._decoded(text):
                context = baggage.set_baggage(name, value, context)
        return parent, context

    def _encoded(self, entries: Mapping[str, Any]) -> str:
        parts: list[str] = []
        size = 0
        for name, value in entries.items():
            if name not in self._baggage or len(parts) >= _BAGGAGE_ENTRIES:
                continue
            part = f"{name}={quote(str(value), safe='')}"
            if size + len(part) + 1 > _BAGGAGE_BYTES:
                continue
            parts.append(part)
            size += len(part) + 1
        return ",".join(parts)

    def _decoded(self, text: str) -> list[tuple[str, str]]:
        if len(text) > _BAGGAGE_BYTES:
            text = text[:_BAGGAGE_BYTES].rpartition(",")[0]
        found: list[tuple[str, str]] = []
        for member in text.split(",", _BAGGAGE_ENTRIES)[:_BAGGAGE_ENTRIES]:
            name, equals, value = member.partition(";")[0].partition("=")
            name = name.strip(" \t")
            if equals and name in self._baggage:
                decoded = unquote(value.strip(" \t"), errors="replace")
                if decoded.isprintable():
                    found.append((name, decoded))
        return found
