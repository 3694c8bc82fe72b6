"""Which calls are active, and which of them a task belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core._observability.call_context import CurrentCall, current_call_var

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable, Mapping

    from rabibridge_core._server.service import ServiceRunner

__all__ = ["describe_active", "service_of_task"]


def describe_active(runners: Iterable[ServiceRunner]) -> str:
    """Return how many requests of each service are active, as text; empty: none is."""
    active = ((runner.schema.name, runner.active_requests) for runner in runners)
    return ", ".join(f"{count} of {name!r}" for name, count in active if count)


def service_of_task(task: asyncio.Task[Any], runners: Mapping[str, ServiceRunner]) -> str | None:
    """Return the name of the service whose handler runs in ``task``, if any; may be called from any thread."""
    context = getattr(task, "get_context", None)  # Python 3.12 and later; also covers tasks that handlers create
    call = context().get(current_call_var) if context is not None else None
    if isinstance(call, CurrentCall):
        return call.service
    return next((name for name, runner in list(runners.items()) if runner.runs(task)), None)
