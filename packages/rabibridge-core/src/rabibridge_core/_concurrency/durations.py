"""Durations as users give them: seconds as a number, or a timedelta."""

from __future__ import annotations

from datetime import timedelta
from numbers import Real

__all__ = ["as_seconds"]


def as_seconds(value: object) -> float | None:
    """Return a duration in seconds: of a timedelta or a number that is not a bool; ``None`` for anything else."""
    if type(value) is float:
        return value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    return None
