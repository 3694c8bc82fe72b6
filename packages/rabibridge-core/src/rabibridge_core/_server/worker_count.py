"""Counts the workers of a service, for what they share among them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rabibridge_core.transport import ConsumerCounter, ServiceQueue

__all__ = ["WorkerCount"]

_log = get_logger(__name__)
_limited = LimitedLog(_log, interval=60.0)


class WorkerCount:
    """Asks the broker again and again how many consumers the queue of a service has.

    While the broker does not tell, the last number holds. It is forgotten when the connection is lost.
    """

    __slots__ = ("_interval", "_live", "_queue", "_task", "_told", "_transport")

    def __init__(
        self,
        transport: ConsumerCounter,
        queue: ServiceQueue,
        live: Callable[[], bool],
        told: Collection[Callable[[int], None]],
        interval: float,
    ) -> None:
        """Start to count; must be made on the running event loop.

        Args:
            transport: counts the consumers.
            queue: the queue of the service.
            live: tells whether this worker receives calls, and so is one of them.
            told: each is called with each number; 0: this worker receives no calls.
            interval: between two questions, in seconds.
        """
        self._interval = interval
        self._transport, self._queue, self._live, self._told = transport, queue, live, told
        self._task = asyncio.get_running_loop().create_task(self._run(), name=f"{queue.name}-workers")

    def _tell(self, workers: int) -> None:
        for told in self._told:
            told(workers)

    def lost(self) -> None:
        """Called when the connection is lost: the others do not count this worker any more."""
        self._tell(0)

    def stop(self) -> None:
        """Count no more."""
        self._task.cancel()
        self._tell(0)

    async def _run(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(self._interval)

    async def _look(self) -> None:
        if not self._live():
            self._tell(0)
            return
        found: int | None = None
        try:
            found = await self._transport.count_consumers(self._queue)
        except Exception as error:  # noqa: BLE001 - the next look may succeed
            self._failed(error)
        if not self._live():
            self._tell(0)
        elif found is not None:
            self._tell(max(1, found))

    def _failed(self, error: Exception) -> None:
        _limited.log(
            f"cannot count the consumers of {self._queue.name!r}", logging.WARNING,
            "cannot count the workers that share the limits of %r with this one: %s. The last number holds",
            self._queue.name, error, extra=log_fields("service.workers_unknown", queue=self._queue.name, error=error),
        )  # fmt: skip
