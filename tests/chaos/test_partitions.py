"""A cluster of three nodes is torn apart: one node hears nothing of the others, while clients reach all of them.

Clients and workers are connected to both sides. What RabbitMQ does then is up to its ``cluster_partition_handling``:
each way has a cluster of its own. It takes root, and minutes, so it belongs to `make chaos`.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rabibridge import CallTimeoutError, ConnectionLostError, NoRouteError
from rabibridge_testing._servers.private import find_server
from tests.chaos.ledger import ECHO, KEYED, ONCE, SAFE, WORK
from tests.chaos.rig import Rig
from tests.chaos.test_cluster import ChaosCluster
from tests.support.waiting import until_true
from tools.broker.partitions import PartitionedCluster, may_have_namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.rabbitmq,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(os.environ.get("CHAOS_FULL") != "1", reason="make chaos starts clusters in namespaces"),
    pytest.mark.skipif(not may_have_namespaces(), reason="root may make network namespaces, with the program ip"),
    pytest.mark.skipif(find_server() is None, reason="a cluster needs an installed rabbitmq-server"),
]

NEAR = tuple(replace(plan, timeout=20.0) for plan in (ECHO, WORK, SAFE, KEYED, ONCE))
"""What clients of the two nodes call that stay together."""
FAR = tuple(replace(plan, timeout=19.0) for plan in (ECHO, WORK, SAFE, KEYED, ONCE))
"""The same of clients of the node that is cut off; the timeout tells them apart."""
ENDS = {plan: (CallTimeoutError, ConnectionLostError, NoRouteError) for plan in NEAR + FAR}
"""Any call may meet the partition: it ends all the same, once, and in its time."""
CALLERS = 60
APART = 15.0
"""Seconds for which the load goes on in two parts."""
LOOK = 0.5
CUT_OFF = 2


@pytest.fixture(scope="module", params=["pause_minority", "autoheal", "ignore"])
def cluster(request: pytest.FixtureRequest) -> Iterator[PartitionedCluster]:
    with PartitionedCluster(request.param) as cluster:
        yield cluster


@pytest.mark.parametrize("queue_type", ["quorum", "classic"])
async def test_a_node_is_cut_off_from_the_others(cluster: PartitionedCluster, queue_type: str, tmp_path: Path) -> None:
    if queue_type == "classic" and cluster.how != "pause_minority":
        pytest.skip(
            "a side without the node of a classic queue has its messages refused, and not all ends are known yet"
        )
    broker = ChaosCluster(cluster)
    async with Rig(broker, tmp_path) as rig:
        here, alone = broker.url(rig.vhost), broker.url(rig.vhost, first=CUT_OFF)
        options = {"services": "echo,work,safe,once", "RABIBRIDGE_QUEUE_TYPE": queue_type}
        await rig.worker(**options)  # classic queues are on its node
        await asyncio.gather(
            rig.worker(url=broker.url(rig.vhost, first=1), **options), rig.worker(url=alone, **options)
        )
        near, far = await rig.client(here), await rig.client(alone)
        await rig.note_baseline(near, *NEAR)
        stayed = await rig.load(near, *NEAR, callers=CALLERS)
        moved = await rig.load(far, *FAR, callers=CALLERS)

        cluster.cut_off(CUT_OFF)
        await until_true(lambda: _sees(cluster, 0, {0, 1}), pause=LOOK)
        await stayed.flows()
        if cluster.how == "pause_minority":
            await moved.flows()  # the node that is cut off hangs up, and its clients go to the others
        await asyncio.sleep(APART)
        cluster.heal(CUT_OFF)
        if cluster.how == "ignore":  # an operator has to choose
            for command in ("stop_app", "start_app"):
                await asyncio.to_thread(cluster.nodes[CUT_OFF].ctl, command)
        await until_true(lambda: asyncio.to_thread(cluster.whole), pause=LOOK)

        await asyncio.gather(stayed.flows(), moved.flows())
        await rig.check(errors=ENDS)
        print(cluster.how, queue_type, len(rig.ledger.entries), rig.ledger.results, dict(rig.ledger.errors()))


async def _sees(cluster: PartitionedCluster, number: int, wanted: set[int]) -> bool:
    return await asyncio.to_thread(cluster.running_peers, number) == wanted
