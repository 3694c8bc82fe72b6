"""A caller process of the chaos tests that reads or feeds a function without end, and is there to be killed.

The environment gives RABIBRIDGE_URL, CHAOS_FIRST, the id of its call, and CHAOS_CALLED, the function: ``stream``,
``store`` or ``converse``. It prints one line of JSON when the call is well under way.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

from rabibridge import RMQClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ENOUGH = 200


def under_way(number: int) -> None:
    if number == ENOUGH:
        print(json.dumps({"ready": os.getpid()}), flush=True)


async def numbers(*, tell: bool) -> AsyncIterator[int]:
    for number in range(10**9):
        yield number
        if tell:
            under_way(number)
        if number % 10 == 9:
            await asyncio.sleep(0.001)


async def main() -> None:
    called, call_id = os.environ["CHAOS_CALLED"], int(os.environ["CHAOS_FIRST"])
    async with RMQClient() as client:
        if called == "store":
            await client.call(called, call_id, numbers(tell=True))
        further = (10**9, 0.001) if called == "stream" else (numbers(tell=False),)
        async for number, _ in client.stream(called, call_id, *further):
            under_way(number)


if __name__ == "__main__":
    asyncio.run(main())
