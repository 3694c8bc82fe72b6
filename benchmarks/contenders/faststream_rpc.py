"""FastStream's request over RabbitMQ, with msgpack instead of JSON by a decoder, as its documentation shows."""

# pyright: reportMissingImports=false
from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import msgpack  # type: ignore[import-untyped]  # it ships no types
from faststream.rabbit import Channel, RabbitBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.contenders.base import Caller, Service, Side


class _Side:
    def __init__(self, broker: Any, service: Service) -> None:
        self._broker = broker
        self._service = service

    async def call(self, x: Any) -> Any:
        body = msgpack.packb(x)
        reply = await self._broker.request(body, self._service.name, timeout=self._service.timeout)
        return msgpack.unpackb(reply.body)

    def left(self) -> dict[str, int]:
        return {}


async def _decode(message: Any) -> Any:
    return msgpack.unpackb(message.body)


def _broker(url: str, **options: Any) -> Any:
    return RabbitBroker(url, logger=None, **options)


@asynccontextmanager
async def serve(url: str, service: Service) -> AsyncIterator[Side]:
    broker = _broker(url, default_channel=Channel(prefetch_count=service.fetch_size))

    @broker.subscriber(service.name, decoder=_decode)  # type: ignore[untyped-decorator]  # FastStream may be missing
    async def answer(x: Any) -> bytes:
        return cast("bytes", msgpack.packb(await service.function(x)))

    async with broker:
        await broker.start()
        yield _Side(broker, service)


@asynccontextmanager
async def caller(url: str, service: Service) -> AsyncIterator[Caller]:
    async with _broker(url) as broker:
        yield _Side(broker, service)
