"""Estimates how long services that refuse calls need to work off their backlog."""

from __future__ import annotations

from collections import OrderedDict, deque

from rabibridge_core._client.throttle import CallThrottle

__all__ = ["BacklogEstimate", "BacklogEstimates"]

_TIMES_KEPT = 16
_RECENT = 10.0
"""A measured time counts for this many seconds, or for as long as the call took if that was longer."""
_WATCHED = 60.0
"""A service is watched for this many seconds after its last refusal."""
_SERVICES_KEPT = 256
_WAIT_MIN = 0.01


class BacklogEstimate:
    """The backlog of one service, estimated from the time that its calls take.

    A call that enters a full queue leaves it when all calls before it are done. So the time that it takes is the length
    of the backlog over the rate, however many clients and workers there are (Little's law).
    """

    __slots__ = ("_times", "refused_at", "throttle")

    def __init__(self) -> None:
        """Start without a measurement."""
        self.refused_at = 0.0
        """When the last call was refused, on the clock of the event loop."""
        self.throttle: CallThrottle | None = None
        """Decides which calls are sent, since a worker has refused one; ``None``: no worker has."""
        self._times: deque[tuple[float, float]] = deque(maxlen=_TIMES_KEPT)

    def took(self, seconds: float, since_refusal: float, now: float) -> None:
        """Add the time that a call took from sending to the reply.

        Args:
            seconds: that time.
            since_refusal: how long before it was sent another call had been refused, in seconds. If that is longer
                than the call took, the backlog may have been gone when it was sent, and its time is ignored.
            now: the time.
        """
        if self.throttle is not None:
            self.throttle.answered(now)
        if since_refusal <= seconds:
            self._times.append((now, seconds))

    def estimate(self, now: float) -> float | None:
        """Return the median of the recent times, in seconds; ``None`` if there is none."""
        recent = sorted(seconds for when, seconds in self._times if now - when <= max(_RECENT, seconds))
        return recent[len(recent) // 2] if recent else None


class BacklogEstimates(OrderedDict[str, BacklogEstimate]):
    """The backlogs of services that have refused calls within the last minute, by routing key. Usually empty.

    It holds at most 256; the one whose last refusal is the oldest is dropped first.
    """

    def refused(self, route: str, now: float) -> float | None:
        """Record a refusal; return how long the backlog will take, in seconds, or ``None`` if that is unknown."""
        backlog = self.get(route)
        if backlog is None:
            backlog = self[route] = BacklogEstimate()
            if len(self) > _SERVICES_KEPT:
                self.popitem(last=False)
        self.move_to_end(route)
        backlog.refused_at = now
        return backlog.estimate(now)

    def refused_by_worker(self, route: str, now: float, wait: float) -> None:
        """Record that a worker has refused a call after ``wait`` seconds: its service is throttled from now on."""
        backlog = self[route]
        if backlog.throttle is None:
            backlog.throttle = CallThrottle(now, min(max(wait, _WAIT_MIN), _RECENT))

    def watched(self, route: str, now: float) -> BacklogEstimate | None:
        """Return the backlog of a service if it is watched, and drop one whose time has passed."""
        oldest = next(iter(self), None)
        if oldest is not None and now - self[oldest].refused_at > _WATCHED:
            del self[oldest]
        return self.get(route)
