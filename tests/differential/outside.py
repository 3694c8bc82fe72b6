"""The real broker of a differential test, apart from clients and workers: its queues, its alarms and its patience."""

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

_LIMITS = "consumer_timeout", "channel_tick_interval"
_DAY = 86_400_000
_LOOK = """
[Channel ! tick || Channel <- rabbit_channel:list(),
  [{{number, Number}}, {{connection, Connection}}] <- [catch rabbit_channel:info(Channel, [number, connection])],
  lists:member(Number, {numbers}), [{{peer_port, {port}}}] =:= (catch rabbit_reader:info(Connection, [peer_port]))].
"""


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

    @asynccontextmanager
    async def impatient(self) -> AsyncIterator[None]:
        """Let RabbitMQ wait for no acknowledgement on channels that are opened from now on.

        It looks at a channel once a minute; here, only when :meth:`look_for_acknowledgements` is called.
        """
        before = [(await self._eval(f"application:get_env(rabbit, {limit}, undefined).")).strip() for limit in _LIMITS]
        try:
            for limit, value in zip(_LIMITS, (0, _DAY), strict=True):
                await self._eval(f"application:set_env(rabbit, {limit}, {value}).")
            yield
        finally:
            for limit, former in zip(_LIMITS, before, strict=True):
                await self._eval(f"application:set_env(rabbit, {limit}, {former}).")

    async def look_for_acknowledgements(self, port: int, channels: Iterable[int]) -> None:
        """Let RabbitMQ look now for deliveries that are not acknowledged, on channels of the connection from a port."""
        await self._eval(_LOOK.format(numbers=list(channels), port=port))

    async def _eval(self, code: str) -> str:
        assert self._node is not None
        return await asyncio.to_thread(self._node.ctl, "eval", code)
