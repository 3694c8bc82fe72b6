"""A server process for tests whose functions run in child processes. It says when it is ready and when it has ended.

The environment gives RABIBRIDGE_URL; FUNCTIONS, what its services run; and WORKER_NAME, which their names end with. It
has no main guard, on purpose: a child process that ran it again would start a server.
"""

from __future__ import annotations

import asyncio
import os

from rabibridge import RMQServer
from tests.unit import process_functions as functions

_name = os.environ["WORKER_NAME"]


async def main() -> None:
    server = RMQServer()
    for name in os.environ["FUNCTIONS"].split():  # each has a child process of its own
        most = 1 if name == "pid" else None
        function = getattr(functions, name)
        server.add_service(function, executor="process", fetch_size=1, max_calls_per_child=most, name=f"{name}_{_name}")
    async with server, asyncio.TaskGroup() as group:
        serving = group.create_task(server.run_serve())
        await server.wait_serving()
        print("ready", flush=True)
        await serving
    print("ended", flush=True)


asyncio.run(main())
