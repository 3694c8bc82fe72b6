"""The state of one request, from its arrival until it is settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from rabibridge_core._observability.call_context import CurrentCall

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future
    from typing import Any

    from rabibridge_core._server.deduplication import SharedExecution
    from rabibridge_core.transport import IncomingRequest

__all__ = ["ActiveRequest", "StopReason"]

StopReason: TypeAlias = Literal["expired", "cancelled", "requeued", "void"]
"""Why a request is stopped: its deadline passed, its caller cancelled it or disconnected, the worker gives it back to
the queue, or its connection was lost and the broker has requeued it."""


class ActiveRequest(CurrentCall):
    """The state of one request, which is also what its handler gets from ``current_call()``."""

    __slots__ = (
        "accepted",
        "deadline_slot",
        "execution",
        "interruptible",
        "probe_due",
        "request",
        "settled",
        "stop_reason",
        "task",
        "thread_future",
    )

    def __init__(self, service: str, request: IncomingRequest) -> None:
        """Describe ``request`` of ``service``."""
        # The attributes of the base class are set here: this saves one call per request.
        self.service = service
        self.cancelled = False
        self.ends_at = None
        self.over = False
        self._request = self.request = request
        self.stop_reason: StopReason | None = None
        self.interruptible = False
        """Whether its task may be cancelled: not before its first step, as it would then never settle the request, and
        not while the providers of its handler clean up."""
        self.accepted = False
        """Whether it was acknowledged before the handler started (at most once)."""
        self.settled = False
        """Whether it was settled although its handler still runs."""
        self.probe_due = False
        """Whether the next maintenance probes its caller; set by the first maintenance that sees the request."""
        self.deadline_slot: float | None = None
        self.execution: SharedExecution[ActiveRequest] | None = None
        """The execution that it leads: other requests with its idempotency key may wait for the reply."""
        self.thread_future: Future[Any] | None = None
        """The work that was submitted to a thread."""
        self.task: asyncio.Task[None] | None = None
        """The task that processes it; ``None`` while it is queued."""

    def _home_loop(self) -> asyncio.AbstractEventLoop | None:
        task = self.task
        return None if task is None else task.get_loop()
