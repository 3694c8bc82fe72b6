"""One process of the comparison: ``python -m benchmarks.streams.program {serve,read} CONTENDER URL``.

It prints a line of JSON when it is ready, and ends at end of input. A client answers the lines

- ``{"op": "read", "count": 100000, "size": 16}``: read a stream of so many items of so many bytes;
- ``{"op": "first", "times": 100}``: read streams of one item, and make calls, in turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any

from benchmarks.contenders.stream_base import load
from benchmarks.program import runner
from benchmarks.usage import cpu_seconds

if TYPE_CHECKING:
    from benchmarks.contenders.stream_base import StreamClient


async def read(client: StreamClient, count: int, size: int) -> dict[str, float]:
    """Read one stream to its end."""
    came, cpu, start = 0, cpu_seconds(), perf_counter()
    async for item in client.stream(count, size):
        if len(item) != size:
            raise AssertionError("an item has another size than was asked for")
        came += 1
    ended = perf_counter() - start
    if came != count:
        raise AssertionError(f"{came} of {count} items came")
    return {"seconds": ended, "cpu": cpu_seconds() - cpu}


async def first(client: StreamClient, times: int) -> dict[str, float]:
    """Return the median times to the first item of a stream, and of a call, in seconds."""
    items, calls = [], []
    for number in range(times):
        began = perf_counter()
        stream = client.stream(1, 16)
        await anext(stream)
        items.append(perf_counter() - began)
        with contextlib.suppress(StopAsyncIteration):
            await anext(stream)
        began = perf_counter()
        await client.call(number)
        calls.append(perf_counter() - began)
    return {"first": statistics.median(items), "call": statistics.median(calls)}


async def main(role: str, name: str, url: str) -> None:
    contender = load(name)
    async with contender.serve(url) if role == "serve" else contender.client(url) as client:
        print(json.dumps({"ready": True}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            command: dict[str, Any] = json.loads(line)
            assert client is not None
            operation: Any = {"read": read, "first": first}[command.pop("op")]
            print(json.dumps(await operation(client, **command)), flush=True)


if __name__ == "__main__":
    with runner("uvloop") as running:
        running.run(main(*sys.argv[1:]))
