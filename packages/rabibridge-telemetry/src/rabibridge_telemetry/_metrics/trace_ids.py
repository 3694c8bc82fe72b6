"""The trace that the present call belongs to, for exemplars."""

from __future__ import annotations

from opentelemetry.trace import get_current_span

__all__ = ["current_ids"]


def current_ids() -> tuple[int, int] | None:
    """Return the ids of the trace and of the current span, if the trace is recorded: one that is not leads nowhere."""
    context = get_current_span().get_span_context()
    return (context.trace_id, context.span_id) if context.trace_flags.sampled else None
