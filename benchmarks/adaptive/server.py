"""A server process: ``python -m benchmarks.adaptive.server URL BACKEND SECONDS LIMIT``.

``LIMIT`` is ``auto``, a number, or ``best``: the best fixed number of each phase. It writes a line when it serves; a
line of input starts the phases. At the end it writes the limits that it had, four times a second.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from time import monotonic

import uvloop

from benchmarks.adaptive.phases import BACKENDS, PHASES, QUEUE_SIZE, best
from rabibridge import RMQServer, auto

_INTERVAL = 0.25


async def main(url: str, backend: str, seconds: float, limit: str) -> None:
    """Serve until the phases are over."""
    running, present = 0, BACKENDS[backend](PHASES[0])

    async def work(number: int) -> int:
        nonlocal running
        running += 1
        try:
            await asyncio.sleep(present.takes(monotonic(), running))
        finally:
            running -= 1
        return number

    server = RMQServer(url=url)
    first = auto(1, 256) if limit == "auto" else best(backend, PHASES[0]) if limit == "best" else int(limit)
    server.add_service(work, queue_size=QUEUE_SIZE, fetch_size=first)
    async with server, server.serving():
        print(json.dumps({"ready": True}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        start, limits = monotonic(), []
        for phase, rate in enumerate(PHASES):
            present = BACKENDS[backend](rate)
            if limit == "best" and phase:
                await server.update_service("work", fetch_size=best(backend, rate))
            while monotonic() - start < seconds * (phase + 1):
                await asyncio.sleep(_INTERVAL)
                (status,) = server._server.report.status("work", frozenset())["services"]
                limits.append((monotonic() - start, status["concurrency"]))
        print(json.dumps({"start": start, "limits": limits}), flush=True)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    uvloop.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4]))
