"""gRPC's server streaming with asyncio: no broker. msgpack replaces protobuf."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false
from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import msgpack  # type: ignore[import-untyped]  # it ships no types

from benchmarks.contenders.stream_base import items

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.contenders.stream_base import StreamClient

_GROUP = "benchmarks.Streams"
_TIMEOUT = 120.0
_encode: Any = msgpack.packb
_decode: Any = msgpack.unpackb


class _Client:
    def __init__(self, channel: Any) -> None:
        self._items = channel.unary_stream(f"/{_GROUP}/items", _encode, _decode)
        self._echo = channel.unary_unary(f"/{_GROUP}/echo", _encode, _decode)

    def stream(self, count: int, size: int) -> AsyncIterator[Any]:
        found: AsyncIterator[Any] = self._items((count, size), timeout=_TIMEOUT).__aiter__()
        return found

    async def call(self, value: Any) -> Any:
        return await self._echo(value, timeout=_TIMEOUT)


@asynccontextmanager
async def serve(url: str) -> AsyncIterator[None]:
    async def stream(arguments: Any, _: Any) -> AsyncIterator[bytes]:
        async for item in items(*arguments):
            yield item

    async def echo(value: Any, _: Any) -> Any:
        return value

    server = grpc.aio.server()
    methods = {
        "items": grpc.unary_stream_rpc_method_handler(stream, _decode, _encode),
        "echo": grpc.unary_unary_rpc_method_handler(echo, _decode, _encode),
    }
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_GROUP, methods)])
    server.add_insecure_port(urlsplit(url).netloc)
    await server.start()
    yield
    await server.stop(grace=None)


@asynccontextmanager
async def client(url: str) -> AsyncIterator[StreamClient]:
    async with grpc.aio.insecure_channel(urlsplit(url).netloc) as channel:
        yield _Client(channel)
