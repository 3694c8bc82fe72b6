"""A broker that is short of memory or disk space: calls and replies wait, or time out, and then they flow again."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from rabibridge import CallTimeoutError
from tests.chaos.ledger import ECHO, SAFE, THREAD, WORK
from tests.support.waiting import until, until_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge import RMQClient
    from tests.chaos.ledger import Entry
    from tests.chaos.rig import Rig
    from tests.support.processes import Process

SHORT = replace(WORK, seconds=(0.05, 0.5), timeout=1.5)
PLANS = (ECHO, WORK, SAFE, THREAD)
SHORT_CALLERS = 40
ENOUGH = 2 * SHORT_CALLERS
"""Calls that time out during an alarm."""


@asynccontextmanager
async def memory_alarm(rig: Rig) -> AsyncIterator[None]:
    try:
        await rig.chaos_broker.ctl("set_vm_memory_high_watermark", "0.0000001")
        yield
    finally:
        await rig.chaos_broker.ctl("set_vm_memory_high_watermark", "0.4")


@asynccontextmanager
async def disk_alarm(rig: Rig) -> AsyncIterator[None]:
    try:
        await rig.chaos_broker.ctl("set_disk_free_limit", "100000GB")
        yield
    finally:
        await rig.chaos_broker.ctl("set_disk_free_limit", "50MB")


async def test_memory_alarm(rig: Rig) -> None:
    network, workers_network = await rig.network(), await rig.network()
    workers = await asyncio.gather(rig.worker(url=workers_network.url), rig.worker())
    client = await rig.client(network.url)
    load = await rig.load(client, *PLANS)
    short = await rig.load(client, SHORT, callers=SHORT_CALLERS)
    async with memory_alarm(rig):
        await _all_say_why("memory", client, *workers)
        await until(lambda: len(_never_sent(rig)) > ENOUGH)
        _check_why("memory", rig)
    await asyncio.gather(load.flows(), short.flows())
    await rig.check(errors={SHORT: (CallTimeoutError,)}, runs_twice=False)
    assert (len(network.links), len(workers_network.links)) == (1, 1)
    await _none_says_anything(client, *workers)


async def test_disk_alarm_during_which_a_worker_is_killed_and_another_one_starts(rig: Rig) -> None:
    network, workers_network = await rig.network(), await rig.network()
    first, second = await asyncio.gather(rig.worker(), rig.worker(url=workers_network.url))
    client = await rig.client(network.url)
    load = await rig.load(client, *PLANS)
    short = await rig.load(client, SHORT, callers=SHORT_CALLERS)
    async with disk_alarm(rig):
        await _all_say_why("disk", client, first, second)
        # What it had in hand is delivered to the others, which cannot put the counted copies into the queue yet.
        first.kill()
        rig.workers.remove(first)
        third = await rig.worker()
        await until(lambda: len(_never_sent(rig)) > ENOUGH)
        _check_why("disk", rig)
    await asyncio.gather(load.flows(), short.flows())
    await rig.check(errors={SHORT: (CallTimeoutError,)})
    assert (len(network.links), len(workers_network.links)) == (1, 1)
    await _none_says_anything(client, second, third)


def _never_sent(rig: Rig) -> list[Entry]:
    return [
        entry for entry in rig.ledger.ended_with(CallTimeoutError) if getattr(entry.error, "executed", None) is False
    ]


def _check_why(resource: str, rig: Rig) -> None:
    """Check that the errors name what the broker is short of; those of calls that end just after the alarm need not."""
    assert [str(entry.error) for entry in _never_sent(rig) if resource not in str(entry.error)] == []


async def _all_say_why(resource: str, client: RMQClient, *workers: Process) -> None:
    """Wait until the health of all names what the broker is short of; they are ready all the same."""
    await until(lambda: any(resource in reason for reason in client.health().reasons))
    assert client.health()

    async def workers_say_so() -> bool:
        states = [await worker.state() for worker in workers]
        assert all(state["ok"] for state in states), states
        return all(any(resource in reason for reason in state["reasons"]) for state in states)

    await until_true(workers_say_so)


async def _none_says_anything(client: RMQClient, *workers: Process) -> None:
    assert client.health().reasons == ()
    assert [(await worker.state())["reasons"] for worker in workers] == [[]] * len(workers)
