"""Notices that a broker has become silent, which no error of the socket tells."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge._connection.multiplexer import Multiplexer

__all__ = ["SilenceWatch"]


class SilenceWatch:
    """Tells when nothing has arrived on a connection for two heartbeat intervals."""

    def __init__(self, multiplexer: Multiplexer, heartbeat: float, on_silence: Callable[[float], None]) -> None:
        """Watch from now on.

        Args:
            multiplexer: the connection.
            heartbeat: the interval in seconds at which the broker sends something at least.
            on_silence: called once, with how long it has sent nothing, in seconds.
        """
        self._multiplexer = multiplexer
        self._heartbeat = heartbeat
        self._on_silence = on_silence
        self._loop = asyncio.get_running_loop()
        self._checked_at = self._loop.time()
        self._timer = self._loop.call_later(heartbeat / 2, self._check)

    def stop(self) -> None:
        """Watch no longer."""
        self._timer.cancel()

    def _check(self) -> None:
        now = self._loop.time()
        # If the event loop was blocked, received data may not have been read yet: decide at the next check.
        on_time = now - self._checked_at < self._heartbeat
        self._checked_at = now
        silence = now - self._multiplexer.last_received
        if on_time and silence > 2 * self._heartbeat:
            self._on_silence(silence)
        else:
            self._timer = self._loop.call_later(self._heartbeat / 2, self._check)
