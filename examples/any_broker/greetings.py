"""One program for every broker: RABIBRIDGE_URL alone says whether it runs over RabbitMQ, Redis or in memory.

Server and client are in one process here, because memory:// reaches no other one. Nothing below depends on that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator  # noqa: TC003 - the annotation is read at run time

from rabibridge import (
    CallTimeoutError,
    NoRouteError,
    QueueFullError,
    RemoteExecutionError,
    RMQClient,
    RMQServer,
    register_call,
)


@register_call
async def greet(name: str) -> str:
    if not name:
        raise ValueError("nobody to greet")
    return f"Hello, {name}!"


@register_call(queue_size=2, fetch_size=1)
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@register_call
async def countdown(start: int) -> AsyncIterator[int]:
    for number in range(start, 0, -1):
        yield number


async def calls(client: RMQClient) -> None:
    print("result:", await client.call(greet, "Ada"))
    try:
        await client.call(greet, "")
    except RemoteExecutionError as error:
        print("error of the function:", error.error_type, error.error_message)
    try:
        await client.remote_call("unheard_of", timeout=10)
    except NoRouteError as error:
        print("no such service:", type(error).__name__)
    print("stream:", [number async for number in client.stream(countdown, 3)])


async def limits(client: RMQClient) -> None:
    try:
        await client.remote_call("slow", (5,), timeout=0.2)
    except CallTimeoutError:
        print("too late: ended at its deadline")
    answers = await asyncio.gather(
        *(client.remote_call("slow", (0.5,), timeout=30) for _ in range(8)), return_exceptions=True
    )
    refused = sum(isinstance(answer, QueueFullError) for answer in answers)
    print("too many at once: some are refused:", refused > 0 and answers.count("done") + refused == len(answers))


async def main() -> None:
    server = RMQServer()
    server.load_services(globals())
    async with server.serving(), RMQClient() as client:
        await calls(client)
        await limits(client)


if __name__ == "__main__":
    asyncio.run(main())
