"""The caller: it makes one run, ``python -m tools.stream_memory.reader KIND BYTES``, and prints what it took."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING

from rabibridge import RMQClient
from tools.stream_memory.items import items, read
from tools.stream_memory.resident import Growth

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def _upload(total: int) -> AsyncIterator[bytes]:
    for item in items("upload", total):
        yield item


async def main(kind: str, total: int) -> None:
    async with RMQClient() as client:
        view = client.options(timeout=3600)
        warm = [item async for item in view.stream("flood", "random", 1)]
        growth, began = Growth(), time.monotonic()
        if kind == "upload":
            received = await view.call("drink", _upload(total))
        else:
            received = await read(kind, view.stream("flood", kind, total))
        seconds = time.monotonic() - began
    assert len(warm) == 1
    print(json.dumps({"received": received, "seconds": seconds, "growth": growth()}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
