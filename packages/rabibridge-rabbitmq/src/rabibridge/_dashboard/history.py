"""The last minutes of every service, for the plots: fixed numbers of points, however long the dashboard runs."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["History"]

POINTS = 300
"""Points that are kept of one service: five minutes at one a second."""
_MAX_SERVICES = 500
"""Services of which points are kept; further ones have no plot."""


class History:
    """Points of each service, oldest first. A service that is gone keeps its points until all of them are old."""

    def __init__(self) -> None:
        self.times: deque[float] = deque(maxlen=POINTS)
        self._series: dict[str, dict[str, deque[float | None]]] = {}

    def add(self, time: float, services: Mapping[str, Mapping[str, float | None]]) -> None:
        """Add one point of every service.

        Args:
            time: when, in seconds since the epoch.
            services: figures by service and name of the figure; ``None`` where there is none.
        """
        known = len(self.times)
        self.times.append(time)
        for name, figures in services.items():
            if name not in self._series and len(self._series) >= _MAX_SERVICES:
                continue
            series = self._series.setdefault(name, {})
            for key in figures:
                if key not in series:
                    series[key] = deque([None] * known, maxlen=POINTS)
        for name in list(self._series):
            given = services.get(name, {})
            for key, points in self._series[name].items():
                points.append(given.get(key))
            if not any(point is not None for points in self._series[name].values() for point in points):
                del self._series[name]

    def to_json(self) -> dict[str, Any]:
        """Return all points as ``{"times": [...], "services": {name: {figure: [...]}}}``."""
        return {
            "times": list(self.times),
            "services": {
                name: {key: list(points) for key, points in series.items()} for name, series in self._series.items()
            },
        }
