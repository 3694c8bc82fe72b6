"""aio_pika's RPC pattern as documented, with msgpack instead of pickle by a subclass, also as documented."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import msgpack  # type: ignore[import-untyped]  # it ships no types
from aio_pika import connect_robust
from aio_pika.exceptions import DeliveryError
from aio_pika.patterns import RPC

from benchmarks.contenders.base import RefusedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.contenders.base import Caller, Service, Side


class _MsgpackRPC(RPC):
    CONTENT_TYPE = "application/msgpack"

    def serialize(self, data: Any) -> bytes:
        return cast("bytes", msgpack.packb(data))

    def deserialize(self, data: bytes) -> Any:
        return msgpack.unpackb(data)

    def serialize_exception(self, exception: Exception) -> Any:
        return repr(exception)


class _Side:
    def __init__(self, rpc: RPC, service: Service) -> None:
        self._rpc = rpc
        self._service = service

    async def call(self, x: Any) -> Any:
        try:
            return await self._rpc.call(self._service.name, {"x": x})
        except DeliveryError as error:
            raise RefusedError from error

    def left(self) -> dict[str, int]:
        return {}


@asynccontextmanager
async def serve(url: str, service: Service) -> AsyncIterator[Side]:
    async with await connect_robust(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=service.fetch_size)
        rpc = await _MsgpackRPC.create(channel)
        await rpc.register(service.name, service.function, auto_delete=True)
        yield _Side(rpc, service)


@asynccontextmanager
async def caller(url: str, service: Service) -> AsyncIterator[Caller]:
    async with await connect_robust(url) as connection:
        yield _Side(await _MsgpackRPC.create(await connection.channel()), service)
