"""Handlers that do not return, block, or try to take their worker with them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiormq
import pytest

from rabibridge import CallTimeoutError, ConnectionLostError, RemoteExecutionError
from tests.chaos.ledger import ECHO, ONCE, SAFE, THREAD, WORK, Plan
from tests.support.waiting import soon

if TYPE_CHECKING:
    from tests.chaos.rig import Rig

OTHERS = (ECHO, WORK, SAFE, THREAD)
UNKNOWN = {ONCE: (ConnectionLostError, CallTimeoutError)}
NEVER = Plan("never", timeout=1.0)
RAISING = (Plan("leave"), Plan("interrupt"), Plan("odd"), Plan("leave_thread", kind="sync"))
BLOCK = Plan("block", (5.0, 5.0))
DIE = Plan("die")


async def test_those_that_never_return_or_raise_what_they_should_not(rig: Rig) -> None:
    workers = await rig.two_workers(services="echo,work,safe,thread,never,leave,leave_thread,interrupt,odd")
    client = await rig.client()
    await rig.load(client, *OTHERS)
    plans = [plan for plan in (NEVER, *RAISING) for _ in range(20)]
    await soon(asyncio.gather(*(rig.ledger.call(client, plan) for plan in plans)))
    await rig.check(
        errors={NEVER: (CallTimeoutError,), **dict.fromkeys(RAISING, (RemoteExecutionError,))}, runs_twice=False
    )
    assert all(worker.running for worker in workers)
    assert not any(entry.ok for entry in rig.ledger.of(NEVER, *RAISING))
    raised = {getattr(entry.error, "error_type", "").rpartition(".")[2] for entry in rig.ledger.of(*RAISING)}
    assert raised == {"SystemExit", "KeyboardInterrupt", "OddError"}
    runs = rig.runs()
    assert {run.end for entry in rig.ledger.of(NEVER) for run in runs[entry.call_id]} == {"cancelled"}


async def test_one_that_blocks_the_loop_for_longer_than_the_heartbeat(quick_rig: Rig) -> None:
    rig = quick_rig
    workers = await rig.two_workers(services="echo,work,safe,thread,block")
    client = await rig.client()
    load = await rig.load(client, *OTHERS)
    entry = await soon(rig.ledger.call(client, BLOCK))
    assert entry.ok, entry
    await load.flows()
    await rig.check()
    blocked = next(worker for worker in workers if worker.pid == rig.runs()[entry.call_id][0].pid)
    log = blocked.log.read_text()
    assert any("'block'" in line and "WARNING" in line for line in log.splitlines()), log
    assert log.count("is connected to") <= 3, log  # no storm


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
async def test_one_that_kills_its_worker_whenever_it_runs(rig: Rig, queue_type: str) -> None:
    options = {"services": "echo,work,once,safe,thread,die", "RABIBRIDGE_QUEUE_TYPE": queue_type}
    await rig.two_workers(**options)
    client = await rig.client()
    load = await rig.load(client, *OTHERS, ONCE)
    call = asyncio.create_task(rig.ledger.call(client, DIE))
    deaths = 0
    while deaths < 3:  # the first time, and as often as its redelivery_limit says
        dying = {asyncio.create_task(worker.ended()): worker for worker in rig.workers}
        done, others = await soon(asyncio.wait(dying, return_when=asyncio.FIRST_COMPLETED))
        for task in others:
            task.cancel()
        for task in done:
            rig.workers.remove(dying[task])
            assert task.result() == 9
            deaths += 1
            await rig.worker(**options)
    entry = await soon(call)
    assert isinstance(entry.error, RemoteExecutionError)
    assert entry.error.executed is None
    assert len(rig.runs()[entry.call_id]) == 3
    await load.flows()
    await rig.check(errors={DIE: (RemoteExecutionError,), **UNKNOWN}, left=1)
    await _lies_among_the_dead(rig, "rpc_async_die")


async def _lies_among_the_dead(rig: Rig, queue: str) -> None:
    connection = await aiormq.connect(rig.url)
    try:
        message = await (await connection.channel()).basic_get("rpc.dead", no_ack=True)
        headers = message.header.properties.headers or {}
        assert headers["rb-dead-queue"] == queue
        assert headers["rb-dead-reason"]
    finally:
        await connection.close()
