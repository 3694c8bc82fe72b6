"""A request in hand: what the worker keeps of it from its arrival to the moment when it is settled."""

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
"""Why a request is stopped: its time is over, nobody waits for it, it goes back to the queue, or it has gone there."""


class ActiveRequest(CurrentCall):
    """A request in hand, which is also what its handler sees of it."""

    __slots__ = (
        "accepted",
        "aged",
        "request",
        "run",
        "settled",
        "slot",
        "started",
        "stop_reason",
        "taken_at",
        "task",
        "thread",
    )

    def __init__(self, service: str, request: IncomingRequest) -> None:
        """Take ``request`` of ``service`` in hand."""
        # What the base class sets is set here: one call less for each request.
        self.service = service
        self.cancelled = False
        self.ends_at = None
        self.over = False
        self._request = self.request = request
        self.stop_reason: StopReason | None = None
        self.started = False
        """Whether its task has taken its first step: cancelled before that, it would never settle its request."""
        self.accepted = False
        """Whether it was settled before the handler began."""
        self.settled = False
        """Whether it was settled while the handler goes on."""
        self.aged = False
        """Whether it has been in hand for a while: its caller may be gone meanwhile."""
        self.slot: float | None = None
        self.taken_at: float
        """When its time began here, on the clock of :func:`time.monotonic`; unset where it has no limit."""
        self.run: SharedExecution[ActiveRequest] | None = None
        """What it runs for others, too: those that came with the same idempotency key."""
        self.thread: Future[Any] | None = None
        """The work that was given to a thread."""
        self.task: asyncio.Task[None] | None = None
        """``None`` while it waits for its turn."""
