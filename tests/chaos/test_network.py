"""Networks that reset connections, and networks that fall silent without a word."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rabibridge import CallTimeoutError, ConnectionLostError
from tests.chaos.ledger import ECHO, GRACE, KEYED, ONCE, SAFE, THREAD, WORK
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.chaos.rig import Rig

PLANS = (ECHO, WORK, SAFE, KEYED, THREAD, ONCE)
BROKEN = {
    **dict.fromkeys((ECHO, WORK, THREAD), (ConnectionLostError,)),
    ONCE: (ConnectionLostError, CallTimeoutError),
}
HEALTHY = replace(WORK, timeout=59.0), replace(SAFE, timeout=59.0)
"""Calls of a client whose own network holds."""
NOTICED = 3.0
"""How soon a silent connection is noticed where the heartbeat is one second."""


async def test_the_connection_of_the_caller_is_reset(rig: Rig) -> None:
    network = await rig.network()
    await rig.two_workers()
    load = await rig.load(await rig.client(network.url), *PLANS)
    for _ in range(3):
        network.cut()
        await load.flows()
    assert len(network.links) == 4
    await rig.check(errors=BROKEN)


@pytest.mark.parametrize("direction", ["towards the broker", "from the broker"])
async def test_connections_fall_silent(quick_rig: Rig, direction: str) -> None:
    rig, up = quick_rig, direction == "towards the broker"
    callers_network, workers_network = await rig.network(), await rig.network()
    await asyncio.gather(rig.worker(url=workers_network.url), rig.worker())
    client, healthy_client = await rig.client(callers_network.url), await rig.client()
    load = await rig.load(client, *PLANS)
    healthy = await rig.load(healthy_client, *HEALTHY, callers=40)
    frozen_at = time.monotonic()
    for network in (callers_network, workers_network):
        network.freeze(up=up, down=not up)
    plain = [entry for entry in rig.ledger.of(ECHO, WORK, THREAD) if entry.ended is None]
    await until(lambda: all(entry.ended is not None for entry in plain))
    assert max(entry.ended or 0.0 for entry in plain) - frozen_at < NOTICED + GRACE
    if not up:  # what aiormq notices later is not waited for
        assert any("has been silent for" in line for line in rig.logged)
    for network in (callers_network, workers_network):
        network.thaw()
    await load.flows()
    await healthy.flows()
    await rig.check(errors=BROKEN)
