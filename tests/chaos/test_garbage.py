"""A foreign publisher that fills the queue of a service with garbage."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.chaos.ledger import ECHO, SAFE, THREAD, WORK
from tests.support.waiting import until_true

if TYPE_CHECKING:
    from tests.chaos.rig import Rig

FULL = os.environ.get("CHAOS_FULL") == "1"
COUNT = 100_000 if FULL else 4_000
PATIENCE = 400.0


@pytest.mark.slow
@pytest.mark.timeout(3 * PATIENCE)
async def test_many_messages(rig: Rig) -> None:
    workers = await rig.two_workers()
    load = await rig.load(await rig.client(), ECHO, SAFE, THREAD)
    assert (await rig.ledger.call(rig.clients[0], WORK)).ok
    publisher = await rig.launch("garbage", CHAOS_QUEUE="rpc_async_work", CHAOS_COUNT=str(COUNT))
    asking = (await publisher.says(PATIENCE))["ready"]
    assert (await publisher.says(PATIENCE))["answers"] == asking
    assert await publisher.ended() == 0
    assert (await rig.ledger.call(rig.clients[0], WORK)).ok
    await load.flows()
    await rig.end_load()

    async def settled() -> bool:
        census = await rig.chaos_broker.census(rig.vhost)
        return not census.unsettled and census.waiting.keys() == {"rpc.dead"}

    await until_true(settled)
    kept = (await rig.chaos_broker.census(rig.vhost)).waiting["rpc.dead"]
    assert 1_000 < kept <= COUNT - asking
    if FULL:  # one sender cannot push out the letters of others: what exceeds its share is not kept
        assert kept < COUNT - asking
    await rig.check(runs_twice=False, left=kept)
    assert all(worker.running for worker in workers)
    assert all(len(worker.log.read_text().splitlines()) < 200 for worker in workers)  # it does not flood the log
