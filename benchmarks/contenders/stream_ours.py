"""RabiBridge's streams."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.contenders.stream_base import items
from rabibridge import RMQClient, RMQServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.contenders.stream_base import StreamClient

_TIMEOUT = 120.0


class _Client:
    def __init__(self, client: RMQClient) -> None:
        self._client = client.options(timeout=_TIMEOUT)

    def stream(self, count: int, size: int) -> AsyncIterator[bytes]:
        return self._client.stream(items, count, size)

    async def call(self, value: Any) -> Any:
        return await self._client.remote_call("echo", (value,))


async def _echo(value: Any) -> Any:
    return value


@asynccontextmanager
async def serve(url: str) -> AsyncIterator[None]:
    server = RMQServer(url=url)
    server.add_service(items)
    server.add_service(_echo, name="echo")
    async with server.serving():
        yield


@asynccontextmanager
async def client(url: str) -> AsyncIterator[StreamClient]:
    async with RMQClient(url=url) as connected:
        yield _Client(connected)
