"""The libraries that are compared, each with an echo service and a way to call it.

All of them: msgpack, a durable queue of at most 10,000 messages that refuses more, a prefetch of 256, requests that are
mandatory and confirmed, an acknowledgement after the reply.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, cast

import msgpack  # type: ignore[import-untyped]  # it ships no types
from aio_pika import connect_robust
from aio_pika.patterns import RPC

from rabibridge import RMQClient, RMQServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

SERVICE = "bench_echo"
QUEUE_SIZE = 10_000
PREFETCH = 256
TIMEOUT = 10.0
"""Armed on each call of ours, in seconds."""
_SETTLE_TIMEOUT = 5.0


async def bench_echo(x: Any) -> Any:
    return x


class Side(Protocol):
    """A server or a client that is connected."""

    def left(self) -> dict[str, int]:
        """How many entries its tables hold: nothing when no call is under way."""
        ...


class Caller(Side, Protocol):
    """A client."""

    def call(self, x: Any) -> Coroutine[Any, Any, Any]:
        """Call the echo service."""
        ...


class _OurClient:
    def __init__(self, client: RMQClient) -> None:
        self._client = client
        self._idle_tasks = len(asyncio.all_tasks())

    def call(self, x: Any) -> Coroutine[Any, Any, Any]:
        return self._client.remote_call(SERVICE, (x,), timeout=TIMEOUT)

    def left(self) -> dict[str, int]:
        engine: Any = self._client._client
        lane = engine._caller._lane
        return {
            "pending": self._client.pending,
            "unconfirmed": len(lane._unconfirmed),
            "armed": len(engine._deadlines),
            "tasks": len(asyncio.all_tasks()) - self._idle_tasks,
        }


class _OurServer:
    def __init__(self, server: RMQServer) -> None:
        self._server = server

    def left(self) -> dict[str, int]:
        service: Any = self._server._server.services[SERVICE]
        return {
            "in hand": service.in_hand,
            "unsettled": service.consumer._lane.unsettled,
            "armed": len(service._deadlines),
            "tasks": sum("_answer" in repr(task.get_coro()) for task in asyncio.all_tasks()),
        }


class Rabibridge:
    """RabiBridge, by its public API."""

    @staticmethod
    @asynccontextmanager
    async def serve(url: str) -> AsyncIterator[Side]:
        server = RMQServer(url=url)
        server.add_service(bench_echo, queue_size=QUEUE_SIZE, fetch_size=PREFETCH)
        async with server, asyncio.TaskGroup() as group:
            group.create_task(server.run_serve())
            yield _OurServer(server)
            server.stop()

    @staticmethod
    @asynccontextmanager
    async def caller(url: str) -> AsyncIterator[Caller]:
        async with RMQClient(url=url) as client:
            yield _OurClient(client)


class _MsgpackRPC(RPC):
    CONTENT_TYPE = "application/msgpack"

    def serialize(self, data: Any) -> bytes:
        return cast("bytes", msgpack.packb(data))

    def deserialize(self, data: bytes) -> Any:
        return msgpack.unpackb(data)

    def serialize_exception(self, exception: Exception) -> Any:
        return repr(exception)


class _TheirSide:
    def __init__(self, rpc: RPC) -> None:
        self._rpc = rpc

    def call(self, x: Any) -> Coroutine[Any, Any, Any]:
        return self._rpc.call(SERVICE, {"x": x})

    def left(self) -> dict[str, int]:
        return {}


class AioPika:
    """aio_pika's RPC pattern, with the serializer replaced as its documentation shows."""

    @staticmethod
    @asynccontextmanager
    async def serve(url: str) -> AsyncIterator[Side]:
        async with await connect_robust(url) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=PREFETCH)
            rpc = await _MsgpackRPC.create(channel)
            limits = {"x-max-length": QUEUE_SIZE, "x-overflow": "reject-publish"}
            await rpc.register(SERVICE, bench_echo, durable=True, arguments=limits)
            yield _TheirSide(rpc)

    @staticmethod
    @asynccontextmanager
    async def caller(url: str) -> AsyncIterator[Caller]:
        async with await connect_robust(url) as connection:
            yield _TheirSide(await _MsgpackRPC.create(await connection.channel()))


class Contender(Protocol):
    """What can be measured."""

    def serve(self, url: str) -> AbstractAsyncContextManager[Side]:
        """Serve the echo service as long as the context lasts."""
        ...

    def caller(self, url: str) -> AbstractAsyncContextManager[Caller]:
        """Be connected as long as the context lasts."""
        ...


CONTENDERS: dict[str, Contender] = {"rabibridge": Rabibridge(), "aio_pika": AioPika()}


async def settled(side: Side) -> dict[str, int]:
    """Return what ``side`` holds once nothing is under way, or still holds after some seconds; garbage is collected."""
    gc.collect()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SETTLE_TIMEOUT):
            # The last confirms may come after the last replies.
            while any(side.left().values()):  # noqa: ASYNC110 - it looks in from outside, where nothing tells it
                await asyncio.sleep(0.01)
    return side.left()
