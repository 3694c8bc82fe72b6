"""Notices that somebody has set the clock of the server: its leases and its times to live go by that clock."""

from __future__ import annotations

__all__ = ["ServerClock"]

_TOLERANCE = 1.0
"""A clock that is corrected by less, in seconds, is not worth a line: a lease lasts for three or more."""


class ServerClock:
    """Compares the server's clock with one of ours that nobody sets."""

    def __init__(self) -> None:
        """Know nothing of it yet."""
        self._last: tuple[float, float, float] | None = None

    def step(self, sent_at: float, heard_at: float, server_time: float) -> float:
        """Return by how many seconds it was set since the last time; negative: back; 0: it was not.

        Args:
            sent_at: when the server was asked, by our clock in seconds.
            heard_at: when the answer was read.
            server_time: what the server has answered, in seconds.
        """
        last, self._last = self._last, (sent_at, heard_at, server_time)
        if last is None:
            return 0.0
        last_sent_at, last_heard_at, last_time = last
        passed = server_time - last_time
        longest, shortest = heard_at - last_sent_at, sent_at - last_heard_at
        if passed > longest + _TOLERANCE:
            return passed - longest
        return passed - shortest if passed < shortest - _TOLERANCE else 0.0
