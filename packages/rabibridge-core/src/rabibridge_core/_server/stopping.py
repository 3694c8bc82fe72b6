"""Stops requests: those that wait in the worker, those whose handler runs, and those that others follow."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._server.active_request import ActiveRequest, StopReason
    from rabibridge_core._server.processor import RequestProcessor

__all__ = ["RequestStopper"]

_CANCEL_GRACE = 5.0
"""How long cancelled handlers may take to clean up when a service stops, in seconds."""


class RequestStopper:
    """Stops the requests of one service."""

    __slots__ = ("_drop_queued", "_processor")

    def __init__(self, processor: RequestProcessor, drop_queued: Callable[[ActiveRequest], None]) -> None:
        """Stop requests of ``processor``; ``drop_queued`` removes a request that has not been started."""
        self._processor = processor
        self._drop_queued = drop_queued

    def stop_request(self, active: ActiveRequest, reason: StopReason) -> None:
        """Stop an active request; without effect if it is stopped already. It raises nothing."""
        try:
            self._stop_request(active, reason)
        except BaseException as error:  # noqa: BLE001 - what a handler waits for may raise when it is cancelled
            self._processor.settler.failures.unstoppable(active.request.correlation_id, error)

    def _stop_request(self, active: ActiveRequest, reason: StopReason) -> None:
        if active.stop_reason is not None:
            return
        execution = active.execution
        if execution is not None and execution.has_followers:
            if not active.settled:
                self.settle_early(active, reason)  # its handler continues for the requests that follow it
            active.ends_at = execution.followers_end_at
            return
        active.stop_reason = reason
        active.cancelled = True
        sessions = self._processor.sessions
        if sessions is not None and (session := sessions.of(active)) is not None:
            session.stop()
        if active.task is None:
            self._drop_queued(active)
            self.settle_early(active, reason)
        elif not active.interruptible:
            pass  # it settles its request itself, or would never do so if it was cancelled before its first step
        elif active.thread_future is None:
            active.task.cancel()
        elif not active.thread_future.cancel() and reason == "requeued":
            self.settle_early(active, reason)  # its thread cannot be interrupted; another worker may run it meanwhile

    def settle_early(self, active: ActiveRequest, reason: StopReason) -> None:
        """Settle a stopped request now, although its handler may still run."""
        self._processor.settler.settle_stopped(active, reason)
        active.settled = True

    async def requeue_all(self) -> None:
        """Stop all active requests and requeue them, so that another worker runs them."""
        requests = list(self._processor.active)
        for active in requests:
            self.stop_request(active, "requeued")
        # A handler in a thread cannot be interrupted, unless it is a generator, which ends at its next yield; all other
        # tasks settle their requests themselves.
        sessions = self._processor.sessions
        tasks = [
            active.task
            for active in requests
            if active.task is not None
            and (
                active.thread_future is None
                or active.thread_future.cancelled()
                or (sessions is not None and sessions.of(active) is not None)
            )
        ]
        if tasks:
            await asyncio.wait(tasks, timeout=_CANCEL_GRACE)
        for active in list(self._processor.active):
            if active.accepted:  # its handler ignores the cancellation, and no other worker will reply
                self.settle_early(active, "requeued")
