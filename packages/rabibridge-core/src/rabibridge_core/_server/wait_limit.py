"""Bounds how long a call may have waited when it starts, from when its client sent it: ``max_wait`` of a service.

The wait is measured, not estimated: a request says when it was sent, and what is known of its caller's clock tells how
long ago that was. So the number of calls that wait follows what the workers manage, without a word about either. A call
that comes to this worker too late is refused at once; one that waits here is refused when its time is over.

Calls that wait unseen in the broker cannot be refused there. Clients that are refused send less, see
``_client.throttle``; and the queue has a bound of its own, in calls.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._clock import monotonic
from rabibridge_core._concurrency.deadlines import DeadlineWheel
from rabibridge_core._protocol.remote_errors import WAITED_TOO_LONG
from rabibridge_core._server.exceptions import AdmissionRefusedError
from rabibridge_core.errors import QueueFullError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._server.active_request import ActiveRequest
    from rabibridge_core._server.caller_clocks import CallerClocks
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.transport import IncomingRequest

__all__ = ["WaitLimit", "wait_limit_of", "waited_too_long"]


class WaitLimit:
    """The limit of one service on one worker."""

    __slots__ = ("_clocks", "_refuse", "_seconds", "_wheel")

    def __init__(self, seconds: float, clocks: CallerClocks, refuse: Callable[[ActiveRequest], None]) -> None:
        """Refuse calls that have waited for more than ``seconds``; must be made on the running event loop.

        Args:
            seconds: the limit.
            clocks: the clocks of callers.
            refuse: refuses a call that has waited here for too long.
        """
        self._seconds, self._clocks, self._refuse = seconds, clocks, refuse
        self._wheel = DeadlineWheel["ActiveRequest"](asyncio.get_running_loop(), self._over)

    def check(self, active: ActiveRequest, time_left: float) -> None:
        """Called when a call has arrived, with the time that it has left: refuse it now, or when it has waited here.

        Raises:
            AdmissionRefusedError: it has waited for too long.
        """
        request = active.request
        if not _may_be_refused(request):
            return
        waited = 0.0 if request.time_left is None else request.time_left - time_left
        if waited > self._seconds:
            raise AdmissionRefusedError(WAITED_TOO_LONG) from waited_too_long(active, waited)
        if active.task is None:
            self._clocks.standing_queue()
            self._wheel.add(active, self._seconds - waited)

    def _over(self, active: ActiveRequest) -> None:
        if active.task is None and not active.over:  # it has not started
            self._refuse(active)

    def clear(self) -> None:
        """Refuse nothing more."""
        self._wheel.clear()


def wait_limit_of(
    schema: ServiceSchema, clocks: CallerClocks, refuse: Callable[[ActiveRequest], None]
) -> WaitLimit | None:
    """Return the limit of a service; ``None``: it has none. The arguments are those of :class:`WaitLimit`."""
    return None if schema.max_wait is None else WaitLimit(schema.max_wait, clocks, refuse)


def _may_be_refused(request: IncomingRequest) -> bool:
    """Tell whether a refusal is true, and tells somebody.

    A notification, and a call that is stored until it has run, were promised to run. One that is delivered again may
    have run in part.
    """
    return request.wants_reply and not request.persistent and not request.redelivered


def waited_too_long(active: ActiveRequest, waited: float | None = None) -> QueueFullError:
    """Return the error of a call that has waited for ``waited`` seconds; ``None``: since it was sent, as it says."""
    if waited is None:
        sent, ends_at = active.request.time_left, active.ends_at
        waited = monotonic() - active.received_at
        if sent is not None and ends_at is not None:
            waited = max(waited, sent - (ends_at - monotonic()))
    return QueueFullError(
        f"it has waited for {waited:.3g} s, longer than the max_wait of {active.service!r}, and no worker has run it",
        func_name=active.service,
        retry_after=waited,
    )
