"""From seconds, the unit of RabiBridge, to milliseconds, the unit of RabbitMQ."""

from __future__ import annotations

__all__ = ["EXPIRATION_MAX", "expiration_of", "milliseconds"]

EXPIRATION_MAX = 2**32 - 1
"""RabbitMQ closes the channel on more, in milliseconds."""


def milliseconds(seconds: float) -> int:
    """Return a duration for RabbitMQ, at least 1 ms."""
    return max(1, round(seconds * 1000))


def expiration_of(seconds: float) -> bytes:
    """Return the expiration of a message: milliseconds as text."""
    return b"%d" % min(milliseconds(seconds), EXPIRATION_MAX)
