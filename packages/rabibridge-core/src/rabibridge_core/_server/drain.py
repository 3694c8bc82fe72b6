"""Waits until the active requests of a service are finished."""

from __future__ import annotations

import asyncio

__all__ = ["Drain"]


class Drain:
    """A wait for the active requests, with a limit that can be cut short."""

    __slots__ = ("_finished", "_limit")

    def __init__(self) -> None:
        """Wait for :meth:`finish`; must be made on the running event loop."""
        self._finished = asyncio.Event()
        self._limit: asyncio.Timeout | None = None

    async def wait(self, drain_timeout: float) -> None:
        """Return once :meth:`finish` was called, after ``drain_timeout`` seconds, or on :meth:`abort`."""
        try:
            async with asyncio.timeout(drain_timeout) as self._limit:
                await self._finished.wait()
        except TimeoutError:
            pass
        finally:
            self._limit = None

    def finish(self) -> None:
        """Called when no request is active."""
        self._finished.set()

    def abort(self) -> None:
        """Make :meth:`wait` return now."""
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time())
