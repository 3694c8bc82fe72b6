"""Routing keys that led to no queue: which of them to report to the workers of the service, and when."""

from __future__ import annotations

from rabibridge_core._clock import monotonic

__all__ = ["UnroutableKeys"]

_INTERVAL = 1.0
"""Interval in seconds at which the same key is reported."""
_MAX_KEYS = 1024


class UnroutableKeys:
    """Limits how often a caller reports a routing key: many calls may be returned at once."""

    def __init__(self) -> None:
        """Nothing was reported yet."""
        self._reported: dict[str, float] = {}

    def due(self, key: str) -> bool:
        """Tell whether to report a key now, and assume that this is done."""
        now = monotonic()
        if now - self._reported.get(key, -_INTERVAL) < _INTERVAL:
            return False
        if len(self._reported) >= _MAX_KEYS:
            self._reported.clear()
        self._reported[key] = now
        return True
