"""Workers that die, stop or lose their network cost no call."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from rabibridge import CallTimeoutError, ConnectionLostError
from tests.chaos.ledger import ECHO, ONCE, SAFE, THREAD, WORK, Plan
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.chaos.rig import Rig
    from tests.support.processes import Process

NEVER = Plan("never", timeout=None)
UNKNOWN = {ONCE: (ConnectionLostError, CallTimeoutError)}
"""A worker that is gone takes the at-most-once calls with it that it had begun."""


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
async def test_one_of_two_is_killed(rig: Rig, queue_type: str) -> None:
    first, _ = await rig.two_workers(RABIBRIDGE_QUEUE_TYPE=queue_type)
    load = await rig.load(await rig.client())
    first.kill()
    rig.workers.remove(first)
    await load.flows()
    await rig.worker(RABIBRIDGE_QUEUE_TYPE=queue_type)
    await rig.check(errors=UNKNOWN)


async def test_the_only_one_is_killed_and_the_next_starts_after_two_seconds(rig: Rig) -> None:
    worker = await rig.worker()
    load = await rig.load(await rig.client())
    worker.kill()
    rig.workers.remove(worker)
    await asyncio.sleep(2)
    await rig.worker()
    await load.flows()
    await rig.check(errors=UNKNOWN)


async def test_one_of_two_is_told_to_end(rig: Rig) -> None:
    first, _ = await rig.two_workers()
    load = await rig.load(await rig.client())
    first.send(signal.SIGTERM)
    rig.workers.remove(first)
    assert await first.ended() == 0
    await load.flows()
    await rig.worker()
    await rig.check(runs_twice=False)
    assert {run.end for runs in rig.runs().values() for run in runs} == {"end"}


async def test_one_of_two_is_told_to_end_twice(rig: Rig) -> None:
    services = "echo,work,safe,thread,never"
    first, _ = await rig.two_workers(services=services)
    client = await rig.client()
    load = await rig.load(client, ECHO, WORK, SAFE, THREAD)
    calls = [asyncio.create_task(rig.ledger.call(client, NEVER)) for _ in range(40)]
    await until(lambda: len(_runs_on(rig, first)) > 5)
    first.send(signal.SIGTERM)
    rig.workers.remove(first)
    await load.flows()
    assert first.running  # it waits for the calls that it has in hand
    first.send(signal.SIGTERM)
    assert await first.ended() == 0
    assert set(_runs_on(rig, first)) == {"cancelled"}
    await rig.worker(services=services)
    for call in calls:
        call.cancel()
    await rig.check()


def _runs_on(rig: Rig, worker: Process) -> list[str | None]:
    runs = rig.runs()
    ids = [entry.call_id for entry in rig.ledger.of(NEVER)]
    return [run.end for call_id in ids for run in runs.get(call_id, []) if run.pid == worker.pid]


async def test_one_of_two_loses_its_network(rig: Rig) -> None:
    network = await rig.network()
    first, _ = await asyncio.gather(rig.worker(url=network.url), rig.worker())
    load = await rig.load(await rig.client())
    network.cut()
    await load.flows(500)
    assert len(network.links) == 2
    await rig.check(errors=UNKNOWN)
    # What it had in hand runs elsewhere too: it was stopped here, and its result is nobody's.
    assert any(run.pid == first.pid and run.end == "cancelled" for runs in rig.runs().values() for run in runs)


async def test_one_of_two_is_frozen_and_woken_when_the_broker_has_given_it_up(quick_rig: Rig) -> None:
    rig = quick_rig
    first, _ = await rig.two_workers()
    load = await rig.load(await rig.client())
    first.send(signal.SIGSTOP)
    under_way = [entry for entry in rig.ledger.entries.values() if entry.ended is None]
    await until(lambda: all(entry.ended is not None for entry in under_way))
    first.send(signal.SIGCONT)
    await load.flows()
    await rig.check(errors=UNKNOWN)
