"""Waits until the active requests of a service are finished."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Drain"]

_log = get_logger(__name__)


class Drain:
    """A wait for the active requests, with a limit that can be cut short."""

    __slots__ = ("_finished", "_limit", "aborted")

    def __init__(self) -> None:
        """Wait for :meth:`check`; must be made on the running event loop."""
        self.aborted = False
        """Whether :meth:`abort` was called."""
        self._finished = asyncio.Event()
        self._limit: asyncio.Timeout | None = None

    async def wait(self, drain_timeout: float) -> None:
        """Return once :meth:`check` finds no active request, after ``drain_timeout`` seconds, or on :meth:`abort`."""
        if self.aborted:
            return
        try:
            async with asyncio.timeout(drain_timeout) as self._limit:
                await self._finished.wait()
        except TimeoutError:
            pass
        finally:
            self._limit = None

    def check(self, active: Collection[object]) -> None:
        """Called when a request has left ``active``: ends the wait if there is one and none is left."""
        if self._limit is not None and not active:
            self._finished.set()

    def abort(self) -> None:
        """Make :meth:`wait` return now, also if it has not been called yet."""
        self.aborted = True
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(asyncio.get_running_loop().time())

    def log_unfinished(self, service: str, count: int, waited: float, drain_timeout: float, *, requeued: bool) -> None:
        """Log how many requests were not finished, why not, and what becomes of them."""
        why = (
            f"when stop() was called a second time, after {waited:.1f} s"
            if self.aborted
            else f"within drain_timeout={drain_timeout:g} s"
        )
        what = "requeued" if requeued else "ended with an error, since the service is at-most-once"
        _log.warning(
            "service %r: %d calls were not finished %s; they are %s", service, count, why, what,
            extra=log_fields("service.calls_unfinished", service=service, count=count),
        )  # fmt: skip
