"""A broker that dies, stops or hangs up: everything is back by itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge import CallTimeoutError, ConnectionLostError
from tests.chaos.ledger import ECHO, KEYED, LASTING, ONCE, SAFE, THREAD, WORK
from tests.support.waiting import until

if TYPE_CHECKING:
    import pytest

    from tests.chaos.rig import Rig

PLANS = (ECHO, WORK, SAFE, KEYED, LASTING, THREAD, ONCE)
BROKEN = {
    **dict.fromkeys((ECHO, WORK, LASTING, THREAD), (ConnectionLostError,)),
    ONCE: (ConnectionLostError, CallTimeoutError),
}
"""Calls that are not idempotent end when the connection does; idempotent ones must have their result."""


async def test_it_is_killed_and_restarted(rig: Rig) -> None:
    node = rig.chaos_broker.node
    await rig.two_workers()
    load = await rig.load(await rig.client(), *PLANS)
    await asyncio.to_thread(node.kill)
    await until(lambda: len(rig.ledger.ended_with(ConnectionLostError)) > 100)  # none waits for its timeout
    await asyncio.to_thread(node.start)
    await load.flows()
    await rig.check(errors=BROKEN)


async def test_it_is_stopped_and_started(rig: Rig) -> None:
    await rig.two_workers()
    load = await rig.load(await rig.client(), *PLANS)
    await rig.chaos_broker.ctl("stop_app")
    await rig.chaos_broker.ctl("start_app")
    await load.flows()
    await rig.check(errors=BROKEN)


async def test_it_restarts_while_both_sides_start(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "120")
    node = rig.chaos_broker.node
    await asyncio.to_thread(node.kill)
    workers = await asyncio.gather(rig.launch(), rig.launch())
    connecting = asyncio.create_task(rig.client(patience=60.0))
    await asyncio.to_thread(node.start)
    rig.workers += await asyncio.gather(*(worker.ready() for worker in workers))
    await rig.load(await connecting, *PLANS)
    await rig.check(runs_twice=False)


async def test_it_closes_all_connections_twenty_times(rig: Rig) -> None:
    workers = await rig.two_workers()
    load = await rig.load(await rig.client(), *PLANS)
    await rig.chaos_broker.ctl("close_all_connections", "--vhost", rig.vhost, "for a test")
    await load.flows()
    early = [(await worker.state())["rss"] for worker in workers]
    await rig.chaos_broker.close_connections(rig.vhost, connections=3, times=19)
    await load.flows()
    await rig.check(errors=BROKEN)
    late = [(await worker.state())["rss"] for worker in workers]
    assert all(after < before + 16 * 2**20 for before, after in zip(early, late, strict=True)), (early, late)
