"""A caller process of the chaos tests that reads a stream without end, says how it goes, and is there to be killed.

The environment gives RABIBRIDGE_URL and CHAOS_FIRST, the id of its stream.
"""

from __future__ import annotations

import asyncio
import json
import os

from rabibridge import RMQClient


async def main() -> None:
    async with RMQClient() as client:
        items = client.stream("stream", int(os.environ["CHAOS_FIRST"]), 10**9, 0.001)
        async for number, _ in items:
            if number == 200:
                print(json.dumps({"ready": os.getpid()}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
