"""A worker process: ``python -m benchmarks.hedging.worker URL STALL``.

Its function takes 5 ms. STALL says how it stands still for one second in every eight: ``never``, ``handler`` (its
function waits, as for a backend that hangs) or ``process`` (nothing runs, as while memory is collected). Commands are
read from standard input and answered with a line: ``runs`` tells how often the function has run so far.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from rabibridge import RMQServer

SERVICE = "price"
SECONDS, EVERY, STANDS = 0.005, 8.0, 1.0
"""How long the function takes; how often the worker stands still, and for how long."""


class Worker:
    """The function, and what makes it stand still."""

    def __init__(self, stall: str) -> None:
        self.runs = 0
        self._stall = stall
        self._moves = asyncio.Event()
        self._moves.set()

    async def price(self, number: int) -> int:
        self.runs += 1
        await asyncio.sleep(SECONDS)
        await self._moves.wait()
        return number

    async def stand_still(self) -> None:
        """Do so now and then."""
        while True:
            await asyncio.sleep(EVERY - STANDS)
            if self._stall == "process":
                time.sleep(STANDS)  # noqa: ASYNC251 - that is what it is for
            elif self._stall == "handler":
                self._moves.clear()
                await asyncio.sleep(STANDS)
                self._moves.set()


async def main(url: str, stall: str) -> None:
    worker, server = Worker(stall), RMQServer(url=url)

    async def price(number: int) -> int:
        return await worker.price(number)

    server.add_service(price, fetch_size=8, idempotent=True)
    async with server.serving():
        await server.wait_serving()
        stands = asyncio.create_task(worker.stand_still())
        print(json.dumps({"ready": True}), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps({"runs": worker.runs}), flush=True)
        stands.cancel()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
