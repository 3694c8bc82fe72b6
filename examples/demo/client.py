"""Calls the services and shows how a call can end."""

from __future__ import annotations

import asyncio
import textwrap

from rabibridge import NoRouteError, QueueFullError, RemoteExecutionError, RMQClient


async def show_results(client: RMQClient) -> None:
    print("\n1. Results")
    for n in (10, 30, 90):
        print(f"   fibonacci({n}) = {await client.remote_call('fibonacci', (n,), timeout=10)}")


async def show_remote_error(client: RMQClient) -> None:
    print("\n2. An error in the function, with the traceback of the process that ran it")
    try:
        await client.remote_call("divide", (1, 0), ftype="sync", timeout=10)
    except RemoteExecutionError as error:
        print(f"   divide(1, 0) -> {type(error).__name__}: {error.error_type}: {error.error_message}")
        print(textwrap.indent(error.remote_traceback.rstrip(), "   | "))


async def show_full_queue(client: RMQClient) -> None:
    print("\n3. More calls than the service accepts: the rest is refused immediately")
    await client.remote_call("slow", (0,), timeout=10)
    calls = [client.remote_call("slow", (1,), timeout=10) for _ in range(5)]
    for answer in await asyncio.gather(*calls, return_exceptions=True):
        if isinstance(answer, QueueFullError):
            print(f"   slow(1) -> {type(answer).__name__}: {answer}")
        elif isinstance(answer, BaseException):
            raise answer
        else:
            print(f"   slow(1) = {answer!r}")


async def show_unknown_function(client: RMQClient) -> None:
    print("\n4. A function that no worker serves")
    try:
        await client.remote_call("no_such_function", timeout=10)
    except NoRouteError as error:
        print(f"   no_such_function() -> {type(error).__name__}: {error}")
    result = await client.remote_call("fibonacci", (20,), timeout=10)
    print(f"   the same client stays usable: fibonacci(20) = {result}")


async def main() -> None:
    async with RMQClient() as client:
        await show_results(client)
        await show_remote_error(client)
        await show_full_queue(client)
        await show_unknown_function(client)


if __name__ == "__main__":
    asyncio.run(main())
