"""One worker or client process: ``python -m benchmarks.scaling.child {serve,call} SPEC``, SPEC being JSON.

It answers each line of JSON on standard input with one on standard output, and ends at end of input:

- ``{"op": "cpu"}``: CPU seconds so far;
- ``{"op": "run", "in_flight": 128, "seconds": 2.0}``: call for that time, with that many calls in flight.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import sys
import zlib
from contextlib import AsyncExitStack
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import uvloop

from benchmarks.scaling.handlers import handler
from benchmarks.usage import cpu_seconds
from rabibridge import RMQClient, RMQServer

_TIMEOUT = 30.0


@dataclass(frozen=True)
class Spec:
    """The configuration of a process."""

    urls: list[str]
    """The process opens one connection for each."""
    services: list[str]
    """The services to serve or call; several if a service is sharded over several queues."""
    kind: str = "echo"
    """The kind of handler; see `handler`."""
    loops: int = 0
    """Loop iterations of a CPU-bound handler."""
    fetch_size: int | None = 256
    """The fetch_size for each queue and connection; None: the default of the library."""
    queue_type: str = "classic"


async def _serve(spec: Spec, stack: AsyncExitStack) -> None:
    for url in spec.urls:
        server = RMQServer(url=url)
        for name in spec.services:
            server.add_service(
                handler(spec.kind, name, spec.loops),
                queue_size=10_000,
                fetch_size=spec.fetch_size,
                queue_type="quorum" if spec.queue_type == "quorum" else "classic",
            )
        await stack.enter_async_context(server)
        serving = asyncio.create_task(server.run_serve())
        stack.push_async_callback(asyncio.wait_for, serving, _TIMEOUT)
        stack.callback(server.stop)


async def _connect(spec: Spec, stack: AsyncExitStack) -> list[RMQClient]:
    clients = [await stack.enter_async_context(RMQClient(url=url)) for url in spec.urls]
    for client in clients:  # so that lazily created objects exist before measuring
        for name in spec.services:
            await client.remote_call(name, (0,), ftype="any", timeout=_TIMEOUT)
    return clients


async def _run(spec: Spec, clients: list[RMQClient], in_flight: int, seconds: float) -> dict[str, float]:
    took: list[float] = []
    names, numbers = spec.services, itertools.count()
    cpu, start = cpu_seconds(), perf_counter()
    stop = start + seconds

    async def keep_calling(client: RMQClient) -> None:
        while (began := perf_counter()) < stop:
            number = next(numbers)
            name = names[zlib.crc32(b"%d" % number) % len(names)] if len(names) > 1 else names[0]
            if await client.remote_call(name, (number,), ftype="any", timeout=_TIMEOUT) != number:
                raise AssertionError(f"wrong echo for {number}")
            took.append(perf_counter() - began)

    async with asyncio.TaskGroup() as group:
        for _, client in zip(range(in_flight), itertools.cycle(clients), strict=False):
            group.create_task(keep_calling(client))
    took.sort()
    return {
        "calls": len(took),
        "seconds": perf_counter() - start,
        "median": statistics.median(took),
        "p99": took[len(took) * 99 // 100],
        "cpu": cpu_seconds() - cpu,
    }


async def main(role: str, spec: Spec) -> None:
    async with AsyncExitStack() as stack:
        clients: list[RMQClient] = []
        if role == "serve":
            await _serve(spec, stack)
        else:
            clients = await _connect(spec, stack)
        print(json.dumps({"ready": True}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            command: dict[str, Any] = json.loads(line)
            if command.pop("op") == "run":
                print(json.dumps(await _run(spec, clients, **command)), flush=True)
            else:
                print(json.dumps({"cpu": cpu_seconds()}), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], Spec(**json.loads(sys.argv[2]))))
