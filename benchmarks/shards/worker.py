"""A worker that serves all brokers: `python -m benchmarks.shards.worker NAME=URL ...`; it prints a line then."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack

from rabibridge import RMQServer


async def _run(shards: dict[str, str]) -> None:
    async with AsyncExitStack() as stack:
        for name, url in shards.items():
            server = RMQServer(url=url)

            async def where(name: str = name) -> str:
                await asyncio.sleep(0.005)
                return name

            server.add_service(where, queue_size=1000, fetch_size=8)
            await stack.enter_async_context(server.serving())
        print("serving", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_run(dict(argument.split("=", 1) for argument in sys.argv[1:])))
