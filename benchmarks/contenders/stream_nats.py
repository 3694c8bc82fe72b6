"""NATS: a request whose server publishes many messages to the address for the reply, and an empty one at the end."""

# pyright: reportMissingImports=false
from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgpack  # type: ignore[import-untyped]  # it ships no types
import nats

from benchmarks.contenders.stream_base import items

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.contenders.stream_base import StreamClient

_TIMEOUT = 120.0


class _Client:
    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def stream(self, count: int, size: int) -> AsyncIterator[Any]:
        connection = self._connection
        inbox = connection.new_inbox()
        # Without limits: a reader that is slower than the server would lose messages.
        subscription = await connection.subscribe(inbox, pending_msgs_limit=-1, pending_bytes_limit=-1)
        await connection.publish("items", msgpack.packb((count, size)), reply=inbox)
        while message := (await subscription.next_msg(timeout=_TIMEOUT)).data:
            yield msgpack.unpackb(message)
        await subscription.unsubscribe()

    async def call(self, value: Any) -> Any:
        reply = await self._connection.request("echo", msgpack.packb(value), timeout=_TIMEOUT)
        return msgpack.unpackb(reply.data)


@asynccontextmanager
async def serve(url: str) -> AsyncIterator[None]:
    async with await nats.connect(url) as connection:

        async def stream(request: Any) -> None:
            async for item in items(*msgpack.unpackb(request.data)):
                await connection.publish(request.reply, msgpack.packb(item))
            await connection.publish(request.reply, b"")

        async def echo(request: Any) -> None:
            await request.respond(request.data)

        await connection.subscribe("items", queue="items", cb=stream)
        await connection.subscribe("echo", queue="echo", cb=echo)
        await connection.flush()
        yield


@asynccontextmanager
async def client(url: str) -> AsyncIterator[StreamClient]:
    async with await nats.connect(url) as connection:
        yield _Client(connection)
