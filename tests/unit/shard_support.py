"""Several in-memory brokers with a worker each."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from rabibridge_core.rpc import RpcServer, ShardedClient
from rabibridge_testing.memory import forget_broker, memory_broker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_testing import MemoryBroker

NAMES = ("east", "west", "north")


class Brokers:
    """Three brokers with a worker each, which tells its name."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, Any]] = []
        self.gate = asyncio.Event()
        self._stack = AsyncExitStack()
        self.gate.set()

    def __getitem__(self, name: str) -> MemoryBroker:
        return memory_broker(name)

    async def serve(self, name: str, **options: Any) -> None:
        server = RpcServer(url=f"memory://{name}", name=f"worker {name}")

        async def where(value: Any = None) -> str:
            self.runs.append((name, value))
            await self.gate.wait()
            if value == "fail":
                raise ValueError(value)
            return name

        async def items() -> AsyncIterator[str]:
            for _ in range(3):
                yield name

        server.add_service(where, **options)
        server.add_service(items)
        await self._stack.enter_async_context(server.serving())

    async def close(self) -> None:
        self.gate.set()
        for name in NAMES:
            self[name].restore()
        await self._stack.aclose()
        for name in NAMES:
            forget_broker(name)


def client(**options: Any) -> ShardedClient:
    return ShardedClient({name: f"memory://{name}" for name in NAMES}, **options)


def keys_of(found: ShardedClient, name: str) -> list[str]:
    return [key for key in map(str, range(200)) if found.shard_of(key) == name]
