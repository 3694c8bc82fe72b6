"""The real broker of a differential test, apart from clients and workers: what waits in its queues, and its alarms."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rabibridge._operations.chosen import operator_of
from rabibridge_core.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from rabibridge_core.operations.operator import QueueBox
    from rabibridge_testing.servers import Broker

__all__ = ["Outside"]


class Outside:
    """A RabbitMQ or Redis.

    Attributes:
        url: its URL.
        can_alarm: whether it can be told to accept no messages.
    """

    def __init__(self, url: str, queues: QueueBox, node: Broker | None) -> None:
        """Look into ``queues``, and set alarms of ``node``; ``None``: there are none."""
        self.url, self._queues, self._node = url, queues, node
        self.can_alarm = node is not None

    @classmethod
    @asynccontextmanager
    async def connected(cls, url: str, node: Broker | None = None) -> AsyncIterator[Outside]:
        """Connect to the broker."""
        async with operator_of(load_settings(url=url)).queues() as queues:
            yield cls(url, queues, node)

    async def waiting(self, queues: Iterable[str]) -> dict[str, int]:
        """Return how many calls wait in each of the queues that exist."""
        return {one.name: one.waiting for one in await self._queues.find(queues)}

    async def delete(self, queue: str) -> None:
        """Delete a queue, whoever uses it."""
        await self._queues.delete(queue, if_unused=False)

    async def alarm(self, *, on: bool) -> None:
        """Accept no messages, or accept them again."""
        if self._node is not None:
            await asyncio.to_thread(self._node.ctl, "set_vm_memory_high_watermark", "0.0000001" if on else "0.4")
