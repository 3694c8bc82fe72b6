"""NATS request-reply, as the documentation of nats-py shows it."""

# pyright: reportMissingImports=false
from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import nats

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.contenders.base import Caller, Service, Side


class _Server:
    def __init__(self, service: Service) -> None:
        self._function = service.function

    async def answer(self, message: Any) -> None:
        await message.respond(msgpack.packb(await self._function(msgpack.unpackb(message.data))))

    def left(self) -> dict[str, int]:
        return {}


class _Client:
    def __init__(self, connection: Any, service: Service) -> None:
        self._connection = connection
        self._service = service

    async def call(self, x: Any) -> Any:
        body = msgpack.packb(x)
        reply = await self._connection.request(self._service.name, body, timeout=self._service.timeout)
        return msgpack.unpackb(reply.data)

    def left(self) -> dict[str, int]:
        return {}


@asynccontextmanager
async def serve(url: str, service: Service) -> AsyncIterator[Side]:
    async with await nats.connect(url) as connection:
        server = _Server(service)
        await connection.subscribe(service.name, queue=service.name, cb=server.answer)
        await connection.flush()
        yield server


@asynccontextmanager
async def caller(url: str, service: Service) -> AsyncIterator[Caller]:
    async with await nats.connect(url) as connection:
        yield _Client(connection, service)
