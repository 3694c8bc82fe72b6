"""Calls that are cancelled by the thousand, and two storms that bring other clients down."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING

from rabibridge import CallTimeoutError, ConnectionLostError, NoRouteError
from tests.chaos.ledger import ECHO, ONCE, SAFE, THREAD, WORK, Plan
from tests.chaos.rig import MIX
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from tests.chaos.rig import Rig

NEVER = Plan("never", timeout=None)
NOWHERE = Plan("nowhere", timeout=0.02)


async def test_a_thousand_at_once(rig: Rig) -> None:
    await rig.two_workers(services="echo,work,safe,thread,never")
    client = await rig.client()
    await rig.load(await rig.client(), ECHO, WORK, SAFE, THREAD)
    calls = [asyncio.create_task(rig.ledger.call(client, NEVER)) for _ in range(1000)]
    await until(lambda: len(_runs(rig)) == 512)  # as many as two workers hold; the others wait in the queue
    for call in calls:
        call.cancel()
    assert {type(error) for error in await soon(asyncio.gather(*calls, return_exceptions=True))} == {
        asyncio.CancelledError
    }
    assert client.pending == 0
    await until(lambda: all(end == "cancelled" for end in _runs(rig)))
    await rig.check(runs_twice=False)
    assert _runs(rig) == ["cancelled"] * len(_runs(rig))


def _runs(rig: Rig) -> list[str | None]:
    runs = rig.runs()
    return [run.end for entry in rig.ledger.of(NEVER) for run in runs.get(entry.call_id, [])]


async def test_a_storm_of_calls_to_nowhere_that_time_out_or_are_cancelled(rig: Rig) -> None:
    network = await rig.network()
    await rig.two_workers()
    client = await rig.client(network.url)
    load = await rig.load(client, *MIX)
    for _ in range(60):
        calls = [asyncio.create_task(rig.ledger.call(client, NOWHERE)) for _ in range(40)]
        await asyncio.sleep(random.uniform(0, 0.01))  # just about when the broker returns them
        for call in random.sample(calls, 20):
            call.cancel()
        await soon(asyncio.gather(*calls, return_exceptions=True))
    await load.flows()
    assert len(network.links) == 1
    await rig.check(errors={NOWHERE: (NoRouteError, CallTimeoutError)}, runs_twice=False)


_EXCHANGE_GONE = """
V = <<"%(vhost)s">>, Rpc = rabbit_misc:r(V, exchange, <<"rpc">>),
Bindings = rabbit_binding:list_for_source(Rpc),
ok = rabbit_exchange:delete(Rpc, false, <<"chaos">>),
timer:sleep(500),
rabbit_exchange:declare(Rpc, direct, true, false, false, [], <<"chaos">>),
[rabbit_binding:add(B, <<"chaos">>) || B <- Bindings], ok.
"""


async def test_a_channel_error_under_four_hundred_concurrent_publishes(rig: Rig) -> None:
    network = await rig.network()
    workers = await rig.two_workers()
    client = await rig.client(network.url)
    load = await rig.load(client, *MIX, callers=400)
    burst = replace(ECHO, timeout=20.0)
    breaking = asyncio.create_task(rig.chaos_broker.eval(_EXCHANGE_GONE % {"vhost": rig.vhost}))
    while not breaking.done():
        await soon(asyncio.gather(*(rig.ledger.call(client, burst) for _ in range(400))))
        await asyncio.sleep(0.02)
    await breaking
    await load.flows()
    assert len(network.links) <= 8  # connected again after the error, and not again and again
    assert not any("504" in line for line in rig.logged)  # nothing is written to a channel that is closed
    assert all("reconnecting" not in worker.log.read_text() for worker in workers)
    lost = (ConnectionLostError, NoRouteError)
    await rig.check(errors={**dict.fromkeys((*MIX, burst), lost), ONCE: (*lost, CallTimeoutError)})
    assert rig.ledger.ended_with(*lost)
