"""Conversion from seconds, the unit of RabiBridge, to milliseconds, the unit of RabbitMQ."""

from __future__ import annotations

__all__ = ["EXPIRATION_MAX", "expiration_of", "milliseconds"]

EXPIRATION_MAX = 2**32 - 1
"""Maximum expiration of a message in milliseconds; RabbitMQ closes the channel on a larger one."""


def milliseconds(seconds: float) -> int:
    """Convert seconds to whole milliseconds, at least 1."""
    return max(1, round(seconds * 1000))


def expiration_of(seconds: float) -> bytes:
    """Return the ``expiration`` property for a time in seconds: milliseconds as text."""
    return b"%d" % min(milliseconds(seconds), EXPIRATION_MAX)
