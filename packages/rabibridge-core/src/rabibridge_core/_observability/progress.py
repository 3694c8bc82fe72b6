"""Sends reports of progress from a worker: at most one in 50 ms for each call, and of those the newest."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, SupportsFloat

from rabibridge_core._protocol.progress import WANTS_PROGRESS, encode_progress

if TYPE_CHECKING:
    import asyncio

    from rabibridge_core.transport import IncomingRequest

__all__ = ["ProgressSender", "as_fraction"]

_INTERVAL = 0.05
"""Shortest time between two reports of one call, in seconds."""


class ProgressSender:
    """Sends the reports of one call. What is reported too soon replaces what waits, so that nothing piles up."""

    __slots__ = ("_busy", "_due", "_loop", "_newest", "_next", "_request", "over")

    def __init__(self, request: IncomingRequest, loop: asyncio.AbstractEventLoop) -> None:
        """Send to the caller of ``request``, by the event loop that processes it."""
        self.over = request.headers.get(WANTS_PROGRESS) is not True
        """Whether no report is to be sent, or no further one."""
        self._request = request
        self._loop = loop
        self._newest: tuple[float | None, str] | None = None
        self._due = False
        """Whether the loop will call :meth:`_send`."""
        self._busy = False
        """Whether the transport takes its time with the last report."""
        self._next = 0.0

    def report(self, fraction: float | None, text: str) -> None:
        """Send a report soon, unless a newer one replaces it; from any thread."""
        self._newest = fraction, text
        if not self._due:
            self._due = True
            with suppress(RuntimeError):  # the loop is closed: this thread has outlived its worker
                self._loop.call_soon_threadsafe(self._send)

    def _send(self) -> None:
        now = self._loop.time()
        if now < self._next:
            self._loop.call_later(self._next - now, self._send)
            return
        self._due = False
        newest = self._newest
        if newest is None or self.over or self._busy:
            return
        self._newest = None
        self._next = now + _INTERVAL
        on_its_way = self._request.reply_part(encode_progress(*newest))
        if on_its_way is not None:
            self._busy = True
            on_its_way.add_done_callback(self._sent)

    def _sent(self, on_its_way: asyncio.Future[None]) -> None:
        self._busy = False
        if not on_its_way.cancelled() and on_its_way.exception() is not None:
            self.over = True  # the broker accepts not even this from here; the reply will say why
        elif self._newest is not None and not self._due:
            self._due = True
            self._send()


def as_fraction(value: float) -> float:
    """Return which part of the work is done, from 0 to 1.

    Raises:
        TypeError: it is no number.
        ValueError: it is not a number (NaN).
    """
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, SupportsFloat)):
        raise TypeError(f"fraction is {repr(value)[:80]}; it must be a number from 0 to 1, or None if it is not known")
    fraction = float(value)
    if fraction != fraction:
        raise ValueError("fraction is NaN; it must be a number from 0 to 1, or None if it is not known")
    return min(1.0, max(0.0, fraction))
