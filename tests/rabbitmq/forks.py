"""Programs that fork, for tests. They and their children report in lines of JSON.

The environment gives RABIBRIDGE_URL; PROGRAM, the name of the function to run; and SERVICE, the name of a service that
returns how often it was called.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import sys
import time
from typing import Any

from rabibridge import RMQClient, RMQServer

_SERVICE = os.environ["SERVICE"]
_PATIENCE = 30.0


def report(**values: Any) -> None:
    os.write(1, (json.dumps({"pid": os.getpid(), **values}) + "\n").encode())


async def call(client: RMQClient, **options: Any) -> Any:
    try:
        return await client.remote_call(_SERVICE, (), timeout=_PATIENCE, **options)
    except Exception as error:  # noqa: BLE001 - the test compares it
        return f"{type(error).__name__}: {error}"


async def serve_a_connection(client: RMQClient, **options: Any) -> None:
    async with client:
        report(name=client.name, result=await call(client, **options))


def _call_in_child(client: RMQClient, loop: asyncio.AbstractEventLoop | None = None) -> None:
    work = call(client)
    began = time.monotonic()
    result = asyncio.run(work) if loop is None else loop.run_until_complete(work)
    report(result=result, took=time.monotonic() - began, state=client.state.value, health=bool(client.health()))


def prefork() -> None:
    """Make the client, then fork workers that connect it, as gunicorn --preload does."""
    client = RMQClient()
    for _ in range(3):
        if os.fork() == 0:
            asyncio.run(serve_a_connection(client, idempotent=True))
            os._exit(0)
    for _ in range(3):
        os.wait()


def connected() -> None:
    """Connect the client, fork, use it in both; then the child connects it anew."""
    client = RMQClient()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(client.connect())
    report(name=client.name, result=loop.run_until_complete(call(client)))
    for same_loop in (True, False):
        if os.fork() == 0:
            _call_in_child(client, loop if same_loop else None)
            asyncio.run(serve_a_connection(client))
            sys.exit(0)
        os.wait()
    report(result=loop.run_until_complete(call(client)), state=client.state.value)
    loop.run_until_complete(client.close())


def worker() -> None:
    """Serve; each call starts a child by multiprocessing that outlives the worker, and never returns."""

    async def hold() -> None:
        multiprocessing.get_context("fork").Process(target=time.sleep, args=(_PATIENCE,)).start()
        report(started=True)
        await asyncio.sleep(_PATIENCE)

    async def run() -> None:
        server = RMQServer()
        hold.__name__ = f"hold_{_SERVICE}"
        server.add_service(hold)
        async with server:
            report(ready=True)
            await server.run_serve()

    asyncio.run(run())


def pool() -> None:
    """Use a client of its own in each process of multiprocessing, forked and spawned."""
    client = RMQClient()
    asyncio.run(serve_a_connection(client))
    for method in ("fork", "spawn"):
        multiprocessing.set_start_method(method, force=True)
        child = multiprocessing.Process(target=call_once)
        child.start()
        child.join()
    multiprocessing.set_start_method("fork", force=True)
    child = multiprocessing.Process(target=asyncio.run, args=(serve_a_connection(client),))
    child.start()
    child.join()


def call_once() -> None:
    asyncio.run(serve_a_connection(RMQClient()))


if __name__ == "__main__":
    globals()[os.environ["PROGRAM"]]()
