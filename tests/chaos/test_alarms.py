"""A broker that is short of memory: calls wait or time out, and then they flow again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from rabibridge import CallTimeoutError
from tests.chaos.ledger import ECHO, SAFE, THREAD, WORK

if TYPE_CHECKING:
    from tests.chaos.rig import Rig

SHORT = replace(WORK, seconds=(0.05, 0.5), timeout=1.5)


async def test_memory_alarm(rig: Rig) -> None:
    network, workers_network = await rig.network(), await rig.network()
    await asyncio.gather(rig.worker(url=workers_network.url), rig.worker())
    load = await rig.load(await rig.client(network.url), ECHO, WORK, SAFE, THREAD, SHORT)
    try:
        await rig.chaos_broker.ctl("set_vm_memory_high_watermark", "0.0000001")
        await asyncio.sleep(5)
    finally:
        await rig.chaos_broker.ctl("set_vm_memory_high_watermark", "0.4")
    await load.flows()
    await rig.check(errors={SHORT: (CallTimeoutError,)}, runs_twice=False)
    late = rig.ledger.ended_with(CallTimeoutError)
    never_sent = [str(entry.error) for entry in late if getattr(entry.error, "executed", None) is False]
    assert never_sent
    assert all("memory" in text for text in never_sent), never_sent[0]
    assert (len(network.links), len(workers_network.links)) == (1, 1)
