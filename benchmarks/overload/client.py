"""A client process: ``python -m benchmarks.overload.client CONTENDER URL SERVICE``.

It writes a line when it is connected. A line of input starts a load; then it writes the outcome of each call.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import uvloop

from benchmarks.contenders.base import load
from benchmarks.overload.flood import Flood, arrivals
from benchmarks.overload.lineup import LINEUP
from benchmarks.overload.terms import SERVICES, TIMEOUT
from benchmarks.usage import cpu_seconds

if TYPE_CHECKING:
    from benchmarks.contenders.base import Caller


async def answer(caller: Caller, limit: float | None, rate: float, seconds: float, seed: str) -> dict[str, Any]:
    """Make the calls of one load and return the outcome of each; times are in seconds from the start."""
    moments = arrivals(rate, seconds, seed)
    calls = Flood(caller.call, moments, limit)
    before = cpu_seconds()
    await calls.run(seconds, patience=TIMEOUT)
    return {
        "cpu": cpu_seconds() - before,
        "start": calls.start,
        "due": [round(moment, 6) for moment in moments],
        "issued": [round(moment, 6) for moment in calls.issued],
        "ended": [round(moment, 6) for moment in calls.ended],
        "outcomes": calls.outcomes.decode(),
        "errors": calls.errors,
    }


async def main(contender: str, url: str, service: str) -> None:
    limit = None if LINEUP[contender].ends_its_calls else TIMEOUT
    async with contextlib.AsyncExitStack() as stack:
        caller = await stack.enter_async_context(load(LINEUP[contender].module).caller(url, SERVICES[service]))
        print(json.dumps({"ready": True}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await answer(caller, limit, **json.loads(line))), flush=True)


if __name__ == "__main__":
    logging.disable(logging.WARNING)  # so that logging thousands of lines does not distort the figures
    uvloop.run(main(*sys.argv[1:]))
