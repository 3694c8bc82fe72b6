"""One process of a benchmark: ``python -m benchmarks.program {serve,call} CONTENDER URL``.

It answers each line of JSON on standard input with a line of JSON, and ends at end of input. The commands:

- ``{"op": "cpu"}``: CPU seconds so far;
- ``{"op": "resident"}``: resident bytes after a garbage collection;
- ``{"op": "memory"}``: once no call is in flight, resident bytes and the sizes of its tables;
- ``{"op": "run", "in_flight": 128, "seconds": 2.0}``: call for that time, with that many calls in flight;
- ``{"op": "payload", "size": 65536, "random": true, "in_flight": 16, "seconds": 2.0}``: the same, with larger bodies;
- ``{"op": "batches", "calls": 50000, "batch": 500}``: make that many calls, one batch at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import os
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

from benchmarks.contenders.base import Service, load
from benchmarks.roster import ENTRIES
from benchmarks.usage import cpu_seconds, resident_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.contenders.base import Caller, Side

_SETTLE_TIMEOUT = 5.0


async def run_for(
    caller: Caller, in_flight: int, seconds: float, values: Iterator[Any] | None = None
) -> dict[str, float]:
    """Keep ``in_flight`` calls in flight for ``seconds``; return their number and latencies.

    The arguments are taken from ``values``, or are 0, 1, 2 and so on.
    """
    took: list[float] = []
    call, values = caller.call, itertools.count() if values is None else values
    cpu, start = cpu_seconds(), perf_counter()
    stop = start + seconds

    async def keep_calling() -> None:
        while (began := perf_counter()) < stop:
            value = next(values)
            if await call(value) != value:
                raise AssertionError("an echo differs from what was sent")
            took.append(perf_counter() - began)

    async with asyncio.TaskGroup() as group:
        for _ in range(in_flight):
            group.create_task(keep_calling())
    ended, cpu = perf_counter() - start, cpu_seconds() - cpu
    took.sort()
    latency = {f"p{percent}": took[len(took) * percent // 100] for percent in (50, 95, 99)}
    return {"calls": len(took), "seconds": ended, "cpu": cpu, **latency}


async def run_payload(caller: Caller, size: int, random: bool, in_flight: int, seconds: float) -> dict[str, float]:
    """Like `run_for`, with ``size`` bytes that compress well or, if ``random``, not at all."""
    filling = (b"the same words again and again, " * (size // 32 + 1))[:size]
    value = os.urandom(size) if random else filling
    return await run_for(caller, in_flight, seconds, itertools.repeat(value))


async def run_batches(caller: Caller, calls: int, batch: int) -> dict[str, float]:
    """Make ``calls`` calls in successive batches of ``batch`` concurrent calls."""
    cpu, start = cpu_seconds(), perf_counter()
    for first in range(0, calls, batch):
        numbers = range(first, min(first + batch, calls))
        echoes = await asyncio.gather(*map(caller.call, numbers))
        if echoes != list(numbers):
            raise AssertionError(f"wrong echoes for {numbers}")
    return {"calls": calls, "seconds": perf_counter() - start, "cpu": cpu_seconds() - cpu}


async def settled(side: Side) -> dict[str, int]:
    """Collect garbage and return what ``side`` holds once it is empty, or what it still holds after five seconds."""
    gc.collect()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_SETTLE_TIMEOUT):
            # The last confirms may arrive after the last replies.
            while any(side.left().values()):  # noqa: ASYNC110 - an outside observer gets no event
                await asyncio.sleep(0.01)
    return side.left()


async def _answer(side: Side, command: dict[str, Any]) -> dict[str, Any]:
    operation = command.pop("op")
    if operation == "cpu":
        return {"cpu": cpu_seconds()}
    if operation == "resident":
        gc.collect()
        return {"resident": resident_bytes()}
    if operation == "memory":
        return {"left": await settled(side), "resident": resident_bytes()}
    caller = cast("Caller", side)
    run: Any = {"run": run_for, "payload": run_payload, "batches": run_batches}[operation]
    answer: dict[str, Any] = await run(caller, **command)
    return answer


async def main(role: str, name: str, url: str) -> None:
    contender, service = load(ENTRIES[name].module), Service()
    async with contender.serve(url, service) if role == "serve" else contender.caller(url, service) as side:
        print(json.dumps({"ready": True}), flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(await _answer(side, json.loads(line))), flush=True)


def runner(loop: str) -> asyncio.Runner:
    """Return a runner for this kind of event loop: ``uvloop`` or ``asyncio``."""
    if loop == "asyncio":
        return asyncio.Runner()
    import uvloop

    return asyncio.Runner(loop_factory=uvloop.new_event_loop)


if __name__ == "__main__":
    with runner(ENTRIES[sys.argv[2]].loop) as running:
        running.run(main(sys.argv[1], sys.argv[2], sys.argv[3]))
