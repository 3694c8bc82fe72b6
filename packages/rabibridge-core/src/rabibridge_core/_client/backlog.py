"""How long the services that refuse calls take to work off what waits for them."""

from __future__ import annotations

from collections import OrderedDict, deque

__all__ = ["BacklogEstimate", "BacklogEstimates"]

_TIMES_KEPT = 16
_RECENT = 10.0
"""For so many seconds the time that a call took says something; for longer where it took longer."""
_WATCHED = 60.0
"""So many seconds after its last refusal a service is watched."""
_SERVICES_KEPT = 256


class BacklogEstimate:
    """The calls of one service that wait or run, as seen through the time that they take.

    A call that enters a full queue leaves it when all that were there before have been worked off. So the time that it
    takes is the length of the backlog over the rate, however many clients and workers there are (Little's law).
    """

    __slots__ = ("_times", "refused_at")

    def __init__(self) -> None:
        """Know nothing yet."""
        self.refused_at = 0.0
        """When the last call was refused, on the clock of the event loop."""
        self._times: deque[tuple[float, float]] = deque(maxlen=_TIMES_KEPT)

    def took(self, seconds: float, since_refusal: float, now: float) -> None:
        """Learn of a call that was answered.

        Args:
            seconds: from sending to the reply.
            since_refusal: how long before it was sent a call had been refused, in seconds. If that is longer than it
                took, the backlog may have been gone when it was sent, and it says nothing.
            now: the time.
        """
        if since_refusal <= seconds:
            self._times.append((now, seconds))

    def estimate(self, now: float) -> float | None:
        """Return the median of the recent times, in seconds; ``None`` where there is none."""
        recent = sorted(seconds for when, seconds in self._times if now - when <= max(_RECENT, seconds))
        return recent[len(recent) // 2] if recent else None


class BacklogEstimates(OrderedDict[str, BacklogEstimate]):
    """Those of the services that have refused calls in the last minute, by routing key: mostly none.

    It holds 256 at most; beyond that, the one whose last refusal is longest ago is forgotten.
    """

    def refused(self, route: str, now: float) -> float | None:
        """Note a refusal, and return how long the backlog will take, in seconds, where that is known."""
        backlog = self.get(route)
        if backlog is None:
            backlog = self[route] = BacklogEstimate()
            if len(self) > _SERVICES_KEPT:
                self.popitem(last=False)
        self.move_to_end(route)
        backlog.refused_at = now
        return backlog.estimate(now)

    def watched(self, route: str, now: float) -> BacklogEstimate | None:
        """Return that of a service that is watched, and forget one that is not any more."""
        oldest = next(iter(self), None)
        if oldest is not None and now - self[oldest].refused_at > _WATCHED:
            del self[oldest]
        return self.get(route)
