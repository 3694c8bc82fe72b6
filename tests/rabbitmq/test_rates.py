"""The rate of a service over all of its worker processes, while they die and join."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import PATIENCE, soon

if TYPE_CHECKING:
    from rabibridge import RMQClient
    from tests.rabbitmq.support import Stage
    from tests.rabbitmq.workers import Workers

pytestmark = pytest.mark.chaos

RATE = 80.0
PHASE = 6.0
ROUNDS = 4
"""A machine that stands still for longer than a tenth of a second loses the tokens of that time: it may try again."""


async def test_it_holds_over_four_workers_of_which_one_is_killed_and_one_is_added(
    stage: Stage, workers: Workers
) -> None:
    processes = [await workers.start() for _ in range(4)]
    client, name, starts = await stage.client(), f"limited_{workers.name}", []
    await _share(client, name, RATE / 4, 4)

    async def call() -> None:
        while True:
            starts.append(await client.remote_call(name, timeout=PATIENCE))

    used = 0.0
    async with asyncio.TaskGroup() as group:
        calls = [group.create_task(call()) for _ in range(160)]  # more than the workers hold: some always wait
        for _ in range(ROUNDS):
            began = time.monotonic()
            await asyncio.sleep(PHASE)
            killed = processes.pop(0)
            killed.kill()
            assert await killed.ended() == -signal.SIGKILL
            await asyncio.sleep(PHASE)
            processes.append(await workers.start())
            await asyncio.sleep(PHASE)
            seconds = time.monotonic() - began
            used = sum(began <= when for when in starts) / (RATE * seconds)
            assert used <= 1.1
            for first in range(int(seconds)):
                in_one_second = sum(began + first <= when < began + first + 1 for when in starts)
                assert in_one_second <= RATE * 1.1 + 4, "in no second, not even when the worker joins"
            if used >= 0.9:
                break
        for one in calls:
            one.cancel()
    assert used >= 0.9
    await _share(client, name, RATE / 4, 4)


async def _share(client: RMQClient, name: str, share: float, count: int) -> None:
    async def told() -> list[float | None]:
        found = (status.service(name) for status in await client.workers())
        return [one.rate_share for one in found if one is not None]

    async def until() -> None:
        while await told() != [pytest.approx(share)] * count:  # noqa: ASYNC110 - asked over the network
            await asyncio.sleep(0.1)

    await soon(until())
