"""FastStream with a queue for replies, because its ``request`` makes only one call at a time; others wait for a lock.

For concurrent calls, its maintainers recommend a subscriber for the replies and a future for each call, as here. These
calls have no timeout, no bound and no error transfer.
"""

# pyright: reportMissingImports=false
from __future__ import annotations

import asyncio
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
from faststream.rabbit import RabbitBroker, RabbitQueue

from benchmarks.contenders.faststream_rpc import serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.contenders.base import Caller, Service

__all__ = ["caller", "serve"]


class _Client:
    def __init__(self, broker: Any, service: Service) -> None:
        self._broker = broker
        self._service = service
        self._pending: dict[str, asyncio.Future[Any]] = {}
        self.replies = RabbitQueue(f"replies-{uuid.uuid4()}", exclusive=True)

    async def call(self, x: Any) -> Any:
        correlation_id = uuid.uuid4().hex
        future = self._pending[correlation_id] = asyncio.get_running_loop().create_future()
        try:
            await self._broker.publish(
                msgpack.packb(x), self._service.name, reply_to=self.replies.name, correlation_id=correlation_id
            )
            return await future
        finally:
            del self._pending[correlation_id]

    async def decode(self, message: Any) -> Any:
        future = self._pending.get(message.correlation_id)
        if future is not None and not future.done():
            future.set_result(msgpack.unpackb(message.body))
        return None

    def left(self) -> dict[str, int]:
        return {"pending": len(self._pending)}


async def _taken(_: Any) -> None:
    pass


@asynccontextmanager
async def caller(url: str, service: Service) -> AsyncIterator[Caller]:
    async with RabbitBroker(url, logger=None) as broker:
        client = _Client(broker, service)
        broker.subscriber(client.replies, decoder=client.decode)(_taken)
        await broker.start()
        yield client
