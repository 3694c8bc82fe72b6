"""A worker process that dies in the middle of its calls costs no call."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from tests.rabbitmq.workers import started
from tests.support.waiting import PATIENCE, soon

if TYPE_CHECKING:
    from tests.rabbitmq.support import Stage
    from tests.rabbitmq.workers import Workers

pytestmark = pytest.mark.chaos


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped, then killed"])
async def test_every_call_still_returns(stage: Stage, workers: Workers, sign: signal.Signals) -> None:
    first, second = await workers.start(), await workers.start()
    client = await stage.client()
    calls = [
        asyncio.create_task(client.remote_call(f"work_{workers.name}", (number,), timeout=PATIENCE))
        for number in range(30)
    ]
    held = await started(first, 4)
    await started(second, 4)
    if sign is not signal.SIGKILL:
        first.send(sign)
    first.kill()
    assert await first.ended() == -signal.SIGKILL
    second.write_line()
    results = await soon(asyncio.gather(*calls))
    assert results == [[number, second.pid] for number in range(30)]
    assert len(held) == 4  # the first worker did hold calls when it died
    assert client.pending == client.stray_replies == 0


async def test_sync_functions_too(stage: Stage, workers: Workers) -> None:
    first = await workers.start()
    client = await stage.client()
    name = f"work_in_a_thread_{workers.name}"
    held = [
        asyncio.create_task(client.remote_call(name, (number,), ftype="sync", timeout=PATIENCE))
        for number in (-1, -2, -3)
    ]
    await started(first, 3)
    second = await workers.start()
    second.write_line()
    first.kill()
    assert await soon(asyncio.gather(*held)) == [[number, second.pid] for number in (-1, -2, -3)]


async def test_with_no_other_worker_the_calls_wait_for_the_next(stage: Stage, workers: Workers) -> None:
    first = await workers.start()
    client = await stage.client()
    calls = [asyncio.create_task(client.remote_call(f"work_{workers.name}", (number,))) for number in range(6)]
    await started(first, 4)
    first.kill()
    await first.ended()
    second = await workers.start()
    second.write_line()
    assert await soon(asyncio.gather(*calls)) == [[number, second.pid] for number in range(6)]
