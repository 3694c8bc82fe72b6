"""The services that blocks may ask for by ``# needs: service NAME``: ``python services.py NAME ...`` serves them."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

from rabibridge import RMQServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


async def add(a: float, b: float) -> float:
    return a + b


async def echo(value: object) -> object:
    return value


async def fibonacci(n: int) -> int:
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return a


def divide(dividend: float, divisor: float) -> float:
    return dividend / divisor


async def count(number: int) -> AsyncIterator[int]:
    for index in range(number):
        yield index


SERVICES: dict[str, Callable[..., Any]] = {
    function.__name__: function for function in (add, echo, fibonacci, divide, count)
}


async def main(names: list[str]) -> None:
    server = RMQServer()
    for name in names:
        server.add_service(SERVICES[name], queue_size=1000, timeout=60)
    async with server:
        print("ready", flush=True)
        await server.run_serve()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
