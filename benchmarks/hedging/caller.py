"""The client process: ``python -m benchmarks.hedging.caller URL``.

For each line of input, a map of ``hedge``, ``rate`` and ``seconds``, it makes so many calls per second, whatever
becomes of those before, and answers with their times.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

from benchmarks.hedging.worker import SERVICE
from rabibridge import RMQClient

if TYPE_CHECKING:
    from rabibridge import ClientView


async def _turn(view: ClientView, rate: float, seconds: float) -> list[float]:
    loop, times = asyncio.get_running_loop(), list[float]()
    begin, calls = loop.time(), list[asyncio.Task[None]]()

    async def call(number: int, due: float) -> None:
        await view.call(SERVICE, number)
        times.append(loop.time() - due)  # from when it should have been sent: no call is excused by another

    for number in range(round(rate * seconds)):
        due = begin + number / rate
        if (wait := due - loop.time()) > 0:
            await asyncio.sleep(wait)
        calls.append(asyncio.create_task(call(number, due)))
    await asyncio.gather(*calls)
    return times


async def main(url: str) -> None:
    async with RMQClient(url=url) as client:
        plain = client.options(kind="async", timeout=60.0, idempotent=True)
        print(json.dumps({"ready": True}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            told = json.loads(line)
            view = plain.options(hedge=told["hedge"]) if told["hedge"] else plain
            print(json.dumps({"times": await _turn(view, told["rate"], told["seconds"])}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
