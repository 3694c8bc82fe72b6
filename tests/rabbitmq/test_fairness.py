"""One greedy and nine modest callers of a service, with what they offer counted in calls that end, not in seconds."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from rabibridge import QueueFullError, RMQServer
from tests.support.waiting import PATIENCE, soon, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge import RMQClient
    from tests.rabbitmq.support import Stage

STEPS = 400
MODEST, OFFERED, GREEDY = 9, 0.08, 4.28
"""For each call that ends, a modest caller offers 0.08 calls, of a share of 0.1, and the greedy one 4.28: together five
times the capacity."""


@pytest.mark.parametrize("workers", [1, 2])
async def test_modest_callers_lose_nothing_to_a_greedy_one_at_five_times_the_capacity(
    stage: Stage, unique_name: Callable[[str], str], workers: int
) -> None:
    name, gate, ended = unique_name("fair"), asyncio.Semaphore(0), 0

    async def work() -> None:
        nonlocal ended
        await gate.acquire()
        ended += 1

    servers = []
    for _ in range(workers):
        server = RMQServer(url=stage.url)
        server.add_service(work, name=name, fair=True, fetch_size=4, queue_size=60)
        servers.append(server)
    greedy, modest = await stage.client(), [await stage.client() for _ in range(MODEST)]
    offered, good, refused = Counter[int](), Counter[int](), Counter[int]()
    source = random.Random(1)

    async def call(who: int, client: RMQClient) -> None:
        offered[who] += 1
        try:
            await client.remote_call(name, timeout=PATIENCE)
            good[who] += 1
        except QueueFullError:
            refused[who] += 1

    def in_hand() -> int:
        return sum(server._server.active_requests for server in servers)

    async with servers[0].serving(), servers[-1].serving() if workers == 2 else asyncio.timeout(None):
        calls = []
        for _ in range(STEPS):
            due = [MODEST] * (int(GREEDY) + (source.random() < GREEDY % 1))
            due += [number for number in range(MODEST) if source.random() < OFFERED]
            source.shuffle(due)
            calls += [asyncio.create_task(call(who, greedy if who == MODEST else modest[who])) for who in due]
            # Each has arrived: it runs, waits, or was refused.
            before, made = good.total(), len(calls)
            await until(lambda made=made: in_hand() + good.total() + refused.total() == made)  # type: ignore[misc]
            gate.release()
            await until(lambda before=before: good.total() > before)  # type: ignore[misc]
        for _ in range(4 * workers + 2 * 60):
            gate.release()
        await soon(asyncio.gather(*calls))
    for number in range(MODEST):
        assert good[number] >= 0.95 * offered[number], (number, offered, good)
    assert refused[MODEST] > STEPS, "the greedy one was refused what there was no room for"
    assert good.total() == ended
