"""What programs use of the traces by OpenTelemetry: the ids of traces in log records."""

from __future__ import annotations

import logging

from opentelemetry import trace

__all__ = ["TraceContextFilter"]


class TraceContextFilter(logging.Filter):
    """Gives log records ``trace_id``, ``span_id`` and ``trace_sampled`` of the span in which they are made.

    Add it to a handler: ``handler.addFilter(TraceContextFilter())``. Outside of a span the ids are empty. It drops no
    record.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the ids."""
        context = trace.get_current_span().get_span_context()
        record.trace_id = f"{context.trace_id:032x}" if context.is_valid else ""
        record.span_id = f"{context.span_id:016x}" if context.is_valid else ""
        record.trace_sampled = context.is_valid and context.trace_flags.sampled
        return True
