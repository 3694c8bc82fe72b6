"""The change from one run of a service to the next: what the old run still has in flight counts against the new limit.

Without it, a service whose ``fetch_size`` is changed while calls are in flight would run up to the sum of both limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rabibridge_core._server.active_request import ActiveRequest, ProcessorOwner, StopReason
    from rabibridge_core._server.concurrency import ConcurrencyLimiter

__all__ = ["FollowedOwner", "Takeover"]


class Takeover:
    """Counts the requests of earlier runs of a service, and tells the next run of those that finish."""

    __slots__ = ("_earlier", "_limiter", "_next", "pending")

    def __init__(self) -> None:
        """Follow no run yet."""
        self.pending = 0
        """The number of requests that earlier runs have not finished."""
        self._limiter: ConcurrencyLimiter | None = None
        self._earlier: list[ConcurrencyLimiter] = []
        """Those of earlier runs: requests that these have fetched and not begun must not begin beyond the limit."""
        self._next: Takeover | None = None

    def begin(
        self, before: Takeover, count: int, limiter: ConcurrencyLimiter, limiter_before: ConcurrencyLimiter | None
    ) -> None:
        """Follow another run of the service.

        Args:
            before: of that run.
            count: how many requests it has in flight, its own and those of earlier runs.
            limiter: limits this run.
            limiter_before: limits that run; ``None``: all that it has fetched has begun.
        """
        self.pending, self._limiter = count, limiter
        self._earlier = [*before._earlier, limiter_before] if limiter_before is not None else before._earlier
        for earlier in self._earlier:
            earlier.resize(limiter.limit)
        limiter.occupy(count)
        before._next = self

    def finished(self) -> None:
        """Called when a request of this run is finished, or of an earlier one."""
        if self._next is not None:
            self._next._earlier_finished()

    def _earlier_finished(self) -> None:
        self.pending -= 1
        assert self._limiter is not None
        self._limiter.release()
        if not self.pending:
            self._earlier = []
        self.finished()


class FollowedOwner:
    """The owner of requests whose run is followed by another one, which hears of every request that is finished."""

    __slots__ = ("_owner", "_takeover")

    def __init__(self, owner: ProcessorOwner, takeover: Takeover) -> None:
        """Do what ``owner`` does, and tell ``takeover``."""
        self._owner = owner
        self._takeover = takeover

    @property
    def shutting_down(self) -> bool:
        """See :class:`ProcessorOwner`."""
        return self._owner.shutting_down

    def stop_request(self, active: ActiveRequest, reason: StopReason, /) -> None:
        """See :class:`ProcessorOwner`."""
        self._owner.stop_request(active, reason)

    def request_finished(self, active: ActiveRequest, /) -> None:
        """See :class:`ProcessorOwner`."""
        self._owner.request_finished(active)
        self._takeover.finished()
