"""Timeouts of synchronous calls that end when their replies come: each call ends once, and none is left."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from rabibridge import CallTimeoutError
from rabibridge.sync import Client
from tests.support.waiting import PATIENCE, until

if TYPE_CHECKING:
    from tests.rabbitmq.support import Stage

RACES = int(os.environ.get("SYNC_RACES", "2000"))  # `make soak-sync` has more
THREADS = 16


async def echo(value: int) -> int:
    return value


async def test_races_of_timeouts_with_replies(stage: Stage) -> None:
    name = stage.register(echo)
    server = await stage.server(echo)
    await server.wait_serving(name)
    outcomes = await asyncio.to_thread(_race, stage.url, name)
    assert sum(outcomes.values()) == RACES
    assert set(outcomes) <= {"result", "timeout"}
    await until(lambda: server._server.active_requests == 0)


def _race(url: str, name: str) -> Counter[str]:
    with Client(url=url) as client, ThreadPoolExecutor(THREADS) as pool:

        def latency(number: int) -> float:
            began = time.monotonic()
            assert client.remote_call(name, (number,), timeout=PATIENCE) == number
            return time.monotonic() - began

        def race(number: int) -> str:
            try:
                assert client.remote_call(name, (number,), timeout=median) == number
            except CallTimeoutError:
                return "timeout"
            return "result"

        median = statistics.median(pool.map(latency, range(20 * THREADS)))
        outcomes = Counter(pool.map(race, range(RACES)))
        print(f"median {1000 * median:.2f} ms, {dict(outcomes)}")
        assert client.pending == 0
        assert client.remote_call(name, (-1,), timeout=PATIENCE) == -1
    return outcomes
