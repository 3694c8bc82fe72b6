"""What programs use of the traces by OpenTelemetry: the ids of traces in log records."""

from __future__ import annotations

import logging

from rabibridge_telemetry._opentelemetry.log_ids import trace_fields

__all__ = ["TraceContextFilter"]


class TraceContextFilter(logging.Filter):
    """Gives log records ``trace_id``, ``span_id`` and ``trace_sampled`` of the span in which they are made.

    Add it to a handler: ``handler.addFilter(TraceContextFilter())``. Outside of a span the ids are empty. It drops no
    record. ``CallLogFilter`` adds the same fields inside of a span, where OpenTelemetry is switched on.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the ids."""
        fields = trace_fields() or {"trace_id": "", "span_id": "", "trace_sampled": False}
        vars(record).update(fields)
        return True
