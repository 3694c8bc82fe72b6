"""One greedy and nine modest callers of workers with Redis: what they offer is counted in calls that end.

Workers of RabbitMQ get calls in turn; those with Redis take what they have room for, whoever asks first.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.errors import QueueFullError
from rabibridge_core.rpc import RpcClient, RpcServer
from tests.support.waiting import PATIENCE, soon, until

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 200
MODEST, OFFERED, GREEDY = 9, 0.08, 4.28
"""For each call that ends, a modest caller offers 0.08 calls, of a share of 0.1, and the greedy one 4.28: together five
times the capacity."""


@pytest.mark.parametrize("workers", [2, 3])
async def test_modest_callers_lose_nothing_to_a_greedy_one_at_five_times_the_capacity(
    redis_url: str, unique_name: Callable[[str], str], workers: int
) -> None:
    name, gate, ended = unique_name("fair"), asyncio.Semaphore(0), 0

    async def work() -> None:
        nonlocal ended
        await gate.acquire()
        ended += 1

    servers = []
    for _ in range(workers):
        server = RpcServer(url=redis_url)
        server.add_service(work, name=name, fair=True, fetch_size=4, queue_size=60)
        servers.append(server)
    offered, good, refused = Counter[int](), Counter[int](), Counter[int]()
    source = random.Random(1)

    async def call(who: int, client: RpcClient) -> None:
        offered[who] += 1
        try:
            await client.remote_call(name, timeout=PATIENCE)
            good[who] += 1
        except QueueFullError:
            refused[who] += 1

    def in_hand() -> int:
        return sum(server._server.active_requests for server in servers)

    async with AsyncExitStack() as stack:
        for server in servers:
            await stack.enter_async_context(server.serving())
        clients = [await stack.enter_async_context(RpcClient(url=redis_url)) for _ in range(MODEST + 1)]
        calls = []
        for _ in range(STEPS):
            due = [MODEST] * (int(GREEDY) + (source.random() < GREEDY % 1))
            due += [number for number in range(MODEST) if source.random() < OFFERED]
            source.shuffle(due)
            calls += [asyncio.create_task(call(who, clients[who])) for who in due]
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
