"""Counts the workers of services, for broadcasts: one look at a time for each service, shared by all who ask."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._protocol.naming import queue_name, routing_keys
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from rabibridge_core._concurrency.background import TaskSet
    from rabibridge_core.transport import Caller

__all__ = ["ConsumerCounts", "kinds_of"]

_log = get_logger(__name__)
_MISSING_FOR = 10.0
"""For how many seconds a queue is not looked for that did not exist, where that of the other kind does."""
_KEPT = 4096


def kinds_of(func_name: str, route: str) -> tuple[bool, ...]:
    """Return the kinds that a route may lead to: whether each is async."""
    kinds = (True, False)
    return tuple(is_async for is_async in kinds if routing_keys(func_name, is_async=is_async)[0] == route) or kinds


class ConsumerCounts:
    """The looks at the queues of services, by routing key."""

    def __init__(self, tasks: TaskSet) -> None:
        """Look in tasks of this set."""
        self._tasks = tasks
        self._running: dict[str, asyncio.Task[int | None]] = {}
        self._next: dict[str, asyncio.Task[int | None]] = {}
        self._missing: dict[str, float] = {}

    def count(self, func_name: str, route: str, caller: Caller) -> asyncio.Task[int | None]:
        """Return a task that counts the consumers of a service from now on. It must not be cancelled.

        Its result is ``None`` if there is no queue of the service, or the broker does not tell.
        """
        running = self._running.get(route)
        if running is None or running.done():
            if len(self._running) >= _KEPT:
                self._running = {key: task for key, task in self._running.items() if not task.done()}
            task = self._running[route] = self._tasks.spawn(self._count(func_name, route, caller))
            return task
        waiting = self._next.get(route)
        if waiting is None:
            waiting = self._next[route] = self._tasks.spawn(self._count_after(running, func_name, route, caller))
        return waiting

    async def _count_after(
        self, running: asyncio.Task[int | None], func_name: str, route: str, caller: Caller
    ) -> int | None:
        await asyncio.wait((running,))
        self._running[route] = self._next.pop(route)
        return await self._count(func_name, route, caller)

    async def _count(self, func_name: str, route: str, caller: Caller) -> int | None:
        queues = [queue_name(func_name, is_async=is_async) for is_async in kinds_of(func_name, route)]
        oldest = asyncio.get_running_loop().time() - _MISSING_FOR
        likely = [queue for queue in queues if self._missing.get(queue, oldest) <= oldest]
        try:
            found = await self._sum(likely, caller)
            if found is None:
                found = await self._sum([queue for queue in queues if queue not in likely], caller)
        except Exception as error:  # noqa: BLE001 - who asks waits for other things as well
            _log.debug(
                "cannot find out how many workers serve %r: %s", func_name, error,
                extra=log_fields("client.look_failed", service=func_name, error=error),
            )  # fmt: skip
            return None
        return found

    async def _sum(self, queues: list[str], caller: Caller) -> int | None:
        found: int | None = None
        for queue in queues:
            state = await caller.look(queue)
            if state is not None:
                found = (found or 0) + state[0]
                self._missing.pop(queue, None)
                continue
            if len(self._missing) >= _KEPT:
                self._missing.clear()
            self._missing[queue] = asyncio.get_running_loop().time()
        return found
