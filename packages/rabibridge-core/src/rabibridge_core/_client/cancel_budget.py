"""Bounds how many of the calls that time out are cancelled: each cancellation goes to every worker of its service."""

from __future__ import annotations

__all__ = ["CancelBudget"]

_PER_SECOND, _AT_ONCE = 200.0, 2000.0


class CancelBudget:
    """200 cancellations in a second, and 2,000 after a pause: they must not become another overload."""

    __slots__ = ("_counted_at", "_left")

    def __init__(self) -> None:
        """Begin with all of it."""
        self._left, self._counted_at = _AT_ONCE, 0.0

    def spend(self, now: float) -> bool:
        """Tell whether one more call may be cancelled at this time, in seconds."""
        self._left = min(self._left + (now - self._counted_at) * _PER_SECOND, _AT_ONCE)
        self._counted_at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
