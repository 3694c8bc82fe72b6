"""A server process: ``python -m benchmarks.overload.server CONTENDER URL SERVICE [SERVICE]``.

It writes a line when it is serving. For each line of input it writes what it has done so far. It ends at end of input.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import uvloop

from benchmarks.contenders.base import load
from benchmarks.overload.lineup import LINEUP
from benchmarks.overload.terms import RUNS, SERVICES
from benchmarks.usage import cpu_seconds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from benchmarks.contenders.base import Service


@asynccontextmanager
async def _neighbours(url: str, services: list[Service]) -> AsyncIterator[None]:
    """Serve several services on one RabiBridge server, over one connection."""
    from rabibridge import RMQServer

    server = RMQServer(url=url)
    for one in services:
        server.add_service(
            one.function, queue_size=one.queue_size, fetch_size=one.fetch_size, fetch_ahead=one.fetch_ahead
        )
    async with server, asyncio.TaskGroup() as group:
        group.create_task(server.run_serve())
        yield
        server.stop()


async def main(contender: str, url: str, *names: str) -> None:
    services = [SERVICES[name] for name in names]
    library, alone = load(LINEUP[contender].module), len(services) == 1
    serving: AbstractAsyncContextManager[object]
    serving = library.serve(url, services[0]) if alone else _neighbours(url, services)
    async with serving:
        before = cpu_seconds()
        print(json.dumps({"ready": True}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps({"cpu": cpu_seconds() - before, "runs": RUNS}), flush=True)


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # so that logging thousands of lines does not distort the figures
    uvloop.run(main(*sys.argv[1:]))
