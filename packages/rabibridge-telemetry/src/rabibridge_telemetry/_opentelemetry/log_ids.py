"""The ids of the current span, for log records."""

from __future__ import annotations

from opentelemetry import trace

__all__ = ["trace_fields"]


def trace_fields() -> dict[str, object]:
    """Return ``trace_id``, ``span_id`` and ``trace_sampled`` of the current span; nothing outside of a span."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "trace_sampled": context.trace_flags.sampled,
    }
