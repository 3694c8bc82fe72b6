"""The worker: it serves until its input ends, and says for every line of it how far its memory has grown."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator  # noqa: TC003 - the server reads the annotations

from rabibridge import RMQServer
from tools.stream_memory.items import items, read
from tools.stream_memory.resident import Growth


async def flood(kind: str, total: int) -> AsyncIterator[bytes]:
    """Yield as fast as the reader allows."""
    for item in items(kind, total):
        yield item


async def drink(parts: AsyncIterator[bytes]) -> int:
    """Read what is uploaded."""
    return await read("random", parts)


async def main() -> None:
    server = RMQServer()
    server.add_service(flood)
    server.add_service(drink)
    async with server, server.serving():
        growth = Growth()
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(growth(), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
