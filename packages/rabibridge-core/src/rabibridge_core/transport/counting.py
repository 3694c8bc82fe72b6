"""What a transport has counted of its connections. An optional part of a transport, for metrics."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

__all__ = ["ConnectionCounter", "ConnectionCounts"]


class ConnectionCounts(NamedTuple):
    """What has happened to the connections of one transport.

    Attributes:
        losses: how many were lost.
        reconnects: how many were made anew after that.
        blocked: for how many seconds the broker has accepted no messages.
    """

    losses: int
    reconnects: int
    blocked: float


@runtime_checkable
class ConnectionCounter(Protocol):
    """A transport that counts. It has to be counted at no cost: it may be asked in any thread, and never waits."""

    def connection_counts(self) -> ConnectionCounts:
        """Return what it has counted since it was made."""
        ...
