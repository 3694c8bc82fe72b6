"""A minimal call on aiormq: the RPC example of its documentation, with direct reply-to."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import aiormq
import msgpack  # type: ignore[import-untyped]  # it ships no types

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiormq.abc import AbstractChannel, DeliveredMessage

    from benchmarks.contenders.base import Caller, Service, Side

_REPLY_TO = "amq.rabbitmq.reply-to"


class _Server:
    def __init__(self, service: Service) -> None:
        self._function = service.function

    async def answer(self, message: Any) -> None:
        properties = message.header.properties
        await message.channel.basic_publish(
            msgpack.packb(await self._function(msgpack.unpackb(message.body))),
            routing_key=properties.reply_to,
            properties=aiormq.spec.Basic.Properties(correlation_id=properties.correlation_id),
        )
        await message.channel.basic_ack(message.delivery.delivery_tag)

    def left(self) -> dict[str, int]:
        return {}


class _Client:
    def __init__(self, channel: AbstractChannel, service: Service) -> None:
        self._channel = channel
        self._name = service.name
        self._numbers = itertools.count()
        self._futures: dict[str | None, asyncio.Future[bytes]] = {}

    async def call(self, x: Any) -> Any:
        correlation_id = str(next(self._numbers))
        future = self._futures[correlation_id] = asyncio.get_running_loop().create_future()
        await self._channel.basic_publish(
            cast("bytes", msgpack.packb(x)),
            routing_key=self._name,
            properties=aiormq.spec.Basic.Properties(correlation_id=correlation_id, reply_to=_REPLY_TO),
        )
        return msgpack.unpackb(await future)

    async def on_reply(self, message: DeliveredMessage) -> None:
        self._futures.pop(message.header.properties.correlation_id).set_result(message.body)

    def left(self) -> dict[str, int]:
        return {"futures": len(self._futures)}


@asynccontextmanager
async def serve(url: str, service: Service) -> AsyncIterator[Side]:
    async with aiormq.connect(url) as connection:
        channel, server = await connection.channel(), _Server(service)
        await channel.basic_qos(prefetch_count=service.fetch_size)
        await channel.queue_declare(service.name, auto_delete=True)
        await channel.basic_consume(service.name, server.answer)
        yield server


@asynccontextmanager
async def caller(url: str, service: Service) -> AsyncIterator[Caller]:
    async with aiormq.connect(url) as connection:
        channel = await connection.channel()
        client = _Client(channel, service)
        await channel.basic_consume(_REPLY_TO, client.on_reply, no_ack=True)
        yield client
