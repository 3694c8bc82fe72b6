"""gRPC's asyncio interface: no broker, the client connects to the server. msgpack replaces protobuf."""

# pyright: reportMissingImports=false, reportMissingModuleSource=false
from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import grpc
import msgpack  # type: ignore[import-untyped]  # it ships no types

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.contenders.base import Caller, Service, Side

_GROUP = "benchmarks.Services"
_encode: Any = msgpack.packb
_decode: Any = msgpack.unpackb


class _Server:
    def __init__(self, service: Service) -> None:
        self._function = service.function

    async def answer(self, x: Any, _: Any) -> Any:
        return await self._function(x)

    def left(self) -> dict[str, int]:
        return {}


class _Client:
    def __init__(self, method: Any, service: Service) -> None:
        self._method = method
        self._timeout = service.timeout

    async def call(self, x: Any) -> Any:
        return await self._method(x, timeout=self._timeout)

    def left(self) -> dict[str, int]:
        return {}


@asynccontextmanager
async def serve(url: str, service: Service) -> AsyncIterator[Side]:
    # Without these, it refuses requests once 1,000 are waiting, which can happen with 1,024 calls in flight.
    limits = [(f"grpc.server.max_pending_requests{end}", service.queue_size) for end in ("", "_hard_limit")]
    server, side = grpc.aio.server(options=limits), _Server(service)
    method = grpc.unary_unary_rpc_method_handler(side.answer, _decode, _encode)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_GROUP, {service.name: method})])
    server.add_insecure_port(urlsplit(url).netloc)
    await server.start()
    yield side
    await server.stop(grace=None)


@asynccontextmanager
async def caller(url: str, service: Service) -> AsyncIterator[Caller]:
    async with grpc.aio.insecure_channel(urlsplit(url).netloc) as channel:
        yield _Client(channel.unary_unary(f"/{_GROUP}/{service.name}", _encode, _decode), service)
