"""A server of this or of the previous version. Its argument is JSON: the URL, and a prefix for service names."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from rabibridge import RMQServer, ServiceError, current_call, register_call

if TYPE_CHECKING:
    from collections.abc import Callable

config = json.loads(sys.argv[1])
runs = 0
cancelled, notified = asyncio.Event(), asyncio.Event()


async def add(left: Any, right: Any, *, times: int = 1) -> Any:
    return (left + right) * times


def add_sync(left: int, right: int) -> int:
    return left + right


async def boom() -> None:
    raise LookupError("not here")


async def declared(sku: str) -> None:
    class OutOfStock(ServiceError, code="interop.out_of_stock"):
        sku: str
        left: int

    raise OutOfStock(sku, left=2)


async def count() -> int:
    global runs
    runs += 1
    return runs


async def time_left() -> bool:
    left = current_call().time_left
    return left is not None and 0 < left <= 60


async def hold() -> None:
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        cancelled.set()
        raise


async def was_cancelled() -> bool:
    async with asyncio.timeout(30):
        await cancelled.wait()
    return True


async def notice() -> None:
    notified.set()


async def was_notified() -> bool:
    async with asyncio.timeout(30):
        await notified.wait()
    return True


async def main() -> None:
    server = RMQServer(url=config["url"])
    limits: dict[str, Any] = {"queue_size": 1000, "fetch_size": 10, "timeout": 60}
    functions: list[Callable[..., Any]] = [
        add, add_sync, boom, declared, time_left, hold, was_cancelled, notice, was_notified,
    ]  # fmt: skip
    for function in functions:
        function.__name__ = config["prefix"] + function.__name__
        server.add_service(register_call(**limits)(function))
    count.__name__ = config["prefix"] + "count"
    server.add_service(count, idempotent=True, **limits)
    async with server:
        serving = asyncio.create_task(server.run_serve())
        while not server.health():  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.01)
        print(json.dumps({"ready": time.time()}), flush=True)
        await serving


asyncio.run(main())
