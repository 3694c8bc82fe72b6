"""A server process ends in good order when it is told to."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.rabbitmq.workers import started
from tests.support.waiting import PATIENCE, soon

if TYPE_CHECKING:
    from tests.rabbitmq.support import Stage
    from tests.rabbitmq.workers import Workers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_signal_ends_it_once_the_calls_in_flight_are_answered(
    stage: Stage, workers: Workers, number: signal.Signals
) -> None:
    worker = await workers.start()
    client = await stage.client()
    calls = [asyncio.create_task(client.remote_call(f"work_{workers.name}", (n,))) for n in range(4)]
    await started(worker, 4)
    waiting = asyncio.create_task(client.remote_call(f"work_{workers.name}", (4,)))
    worker.send(number)
    worker.write_line()
    assert await soon(asyncio.gather(*calls)) == [[n, worker.pid] for n in range(4)]
    assert await worker.ended() == 0
    assert worker.log.read_text() == ""
    # What it had not begun is left to others.
    successor = await workers.start()
    successor.write_line()
    assert await soon(waiting) in ([4, worker.pid], [4, successor.pid])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_signal_ends_an_idle_one_at_once(stage: Stage, workers: Workers, number: signal.Signals) -> None:
    worker = await workers.start()
    client = await stage.client()
    await soon(client.remote_call(f"work_in_a_thread_{workers.name}", (1,), ftype="sync"))
    assert await worker.line() == "started 1"
    worker.send(number)
    assert await worker.ended() == 0
    assert await worker.line() == "ended"
    assert worker.log.read_text() == ""


async def test_a_signal_stops_all_servers_of_the_process(stage: Stage) -> None:
    async def one() -> str:
        return "one"

    async def other() -> str:
        return "other"

    before = signal.getsignal(signal.SIGTERM)
    names = stage.register(one), stage.register(other)
    servers = [await stage.server(function, start=False) for function in (one, other)]
    serving = [stage.start(server) for server in servers]
    client = await stage.client()
    assert [await soon(client.remote_call(name)) for name in names] == ["one", "other"]
    os.kill(os.getpid(), signal.SIGTERM)
    done, running = await asyncio.wait(serving, timeout=PATIENCE)
    for server in servers:
        server.stop()
    await soon(asyncio.gather(*serving))
    assert running == set()
    assert len(done) == 2
    assert signal.getsignal(signal.SIGTERM) == before


async def test_the_signal_handlers_of_before_come_back(stage: Stage) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    async def one() -> str:
        return "one"

    async def other() -> str:
        return "other"

    names = stage.register(one), stage.register(other)
    first, second = [await stage.server(function, start=False) for function in (one, other)]
    client = await stage.client()
    first_serving = stage.start(first)
    await soon(client.remote_call(names[0]))
    second_serving = stage.start(second)
    await soon(client.remote_call(names[1]))
    for server, serving in ((first, first_serving), (second, second_serving)):  # the first to start ends first
        server.stop()
        await soon(serving)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
