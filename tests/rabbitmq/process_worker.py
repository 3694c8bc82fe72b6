"""A server process for tests whose functions run in child processes. It says when it is ready and when it has ended.

The environment gives RABIBRIDGE_URL, and WORKER_NAME, which its services' names end with. It has no main guard, on
purpose: a child process that ran it again would start a server.
"""

from __future__ import annotations

import asyncio
import os

from rabibridge import RMQServer
from tests.unit import process_functions as functions

_name = os.environ["WORKER_NAME"]


async def main() -> None:
    server = RMQServer()
    for function in (functions.note_and_wait, functions.hold_the_interpreter, functions.with_children, functions.end):
        server.add_service(function, executor="process", fetch_size=1, name=f"{function.__name__}_{_name}")
    server.add_service(functions.pid, executor="process", fetch_size=1, max_calls_per_child=1, name=f"pid_{_name}")
    async with server, asyncio.TaskGroup() as group:
        serving = group.create_task(server.run_serve())
        await server.wait_serving()
        print("ready", flush=True)
        await serving
    print("ended", flush=True)


asyncio.run(main())
