"""A cluster of three nodes loses one of them, and later another."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rabibridge import CallTimeoutError, ConnectionLostError, RMQClient, RMQServer, StreamError
from tests.chaos.broker import Census, ChaosBroker
from tests.chaos.ledger import ECHO, KEYED, LASTING, ONCE, PLENTY, SAFE, WORK
from tests.chaos.rig import Rig
from tests.chaos.test_streams import ENDLESS, MANY, Reader, all_stopped
from tests.chaos.test_uploads import Uploads
from tests.rabbitmq.support import until_call_gives
from tests.support.waiting import PATIENCE, soon, until_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.chaos.ledger import Plan
    from tools.broker import PrivateCluster
    from tools.broker.partitions import PartitionedCluster

# The cluster may have to be started first, by the shared fixture of the first test that takes it.
pytestmark = [pytest.mark.rabbitmq, pytest.mark.timeout(240)]

ENOUGH = 1000 if os.environ.get("CHAOS_FULL") == "1" else 300
"""Calls that go on while a node is gone."""

FAR = (ECHO, WORK, SAFE, KEYED, LASTING, ONCE)
"""Calls of a client whose node is not killed."""
NEAR = tuple(replace(plan, timeout=plan.timeout - 1) for plan in FAR if plan.timeout)
"""The same calls, of a client that has to go to another node; the timeout tells them apart."""


def may_end() -> dict[Plan, tuple[type[BaseException], ...]]:
    """Return what calls may end with; those that are idempotent, by service or by caller, have their result.

    Only at-most-once ones may time out: a worker that has lost its connection may not be back in time to answer them.
    """
    lost: dict[Plan, tuple[type[BaseException], ...]] = {
        plan: (ConnectionLostError,) for plan in FAR + NEAR if not plan.idempotent
    }
    return lost | {plan: (ConnectionLostError, CallTimeoutError) for plan in lost if plan.at_most_once}


_REPLIES = 200
_LARGE = 100_000
"""Bytes of a reply: so many of them are more than the buffers between two nodes hold."""
_LOOK = 0.2
_HELD = ("messages_ready", "messages_unacknowledged")


class ChaosCluster(ChaosBroker):
    """The cluster as the rig sees it: URLs that name all nodes, and what there is on all of them."""

    def __init__(self, cluster: PrivateCluster | PartitionedCluster) -> None:
        super().__init__(cluster.nodes[0])
        self.cluster = cluster

    def url(self, vhost: str, heartbeat: int | None = None, *, first: int = 0) -> str:
        """Return a list of URLs; ``first`` says which node stands first in it."""
        query = f"?heartbeat={heartbeat}" if heartbeat else ""
        nodes = self.cluster.nodes[first:] + self.cluster.nodes[:first]
        return ",".join(f"amqp://{self.user}:{self.password}@{node.host}:{node.port}/{vhost}{query}" for node in nodes)

    async def ctl(self, *args: str) -> str:
        return await asyncio.to_thread(self.cluster.ctl, *args)

    async def census(
        self, vhost: str, *, left: int = 0, connections: int = 0, channels: int = 0, seconds: float = 0.0
    ) -> Census:
        give_up = time.monotonic() + seconds
        while True:
            census = await self._count(vhost)
            there = sum(census.waiting.values()), census.unsettled, census.connections
            quiet = there == (left, {}, connections) and census.channels <= channels
            if quiet or time.monotonic() > give_up:
                return census
            await asyncio.sleep(_LOOK)  # nothing tells when it is so

    async def _count(self, vhost: str) -> Census:
        queues = await self._list("list_queues", "--vhost", vhost, "name", *_HELD, "exclusive")
        consumers = Counter(name for (name,) in await self._list("list_consumers", "--vhost", vhost, "queue_name"))
        connections = await self._list("list_connections", "channels", "vhost")
        # Of a quorum queue, RabbitMQ 4 leaves out whether it is exclusive, and all versions count its consumers late.
        lines = [f"queue {name} {ready} {held} {consumers[name]} {own or 'false'}" for name, ready, held, own in queues]
        return Census.read("\n".join(lines + [f"connection {row[0]}" for row in connections if row[1] == vhost]))

    async def whole(self, vhost: str) -> bool:
        """Return whether every quorum queue has all of its members."""
        rows = await self._list("list_queues", "--vhost", vhost, "type", "online")
        replicated = [online.count("@") for kind, online in rows if kind == "quorum"]
        return bool(replicated) and set(replicated) == {len(self.cluster.nodes)}

    async def _list(self, *command: str) -> list[list[str]]:
        output = await self.ctl(*command, "--no-table-headers")
        return [line.split("\t") for line in output.splitlines() if line]


@pytest.fixture
async def chaos_broker(own_cluster: PrivateCluster) -> ChaosCluster:
    return ChaosCluster(own_cluster)


@pytest.fixture
async def rig(chaos_broker: ChaosCluster, tmp_path: Path) -> AsyncIterator[Rig[ChaosCluster]]:
    async with Rig(chaos_broker, tmp_path) as rig:
        yield rig


async def test_a_node_is_killed_and_comes_back(
    rig: Rig, chaos_broker: ChaosCluster, own_cluster: PrivateCluster
) -> None:
    elsewhere = chaos_broker.url(rig.vhost, first=1)
    services = {"services": "echo,work,safe,once", "RABIBRIDGE_QUEUE_TYPE": "quorum"}
    await rig.worker(**services)  # its node leads the queues
    await rig.worker(url=elsewhere, **services)
    near, far = await rig.client(), await rig.client(elsewhere)
    await rig.note_baseline(near, *NEAR)
    moved, stayed = await rig.load(near, *NEAR), await rig.load(far, *FAR)

    # The first takes a client, a worker and the leaders of the queues with it. The second leaves the queues to the
    # first, which is back by then, and to one other: that they go on shows that it has all it missed.
    for killed in (0, 2):
        await until_true(lambda: chaos_broker.whole(rig.vhost), pause=_LOOK)
        await asyncio.to_thread(own_cluster.kill, killed)
        await stayed.flows(ENOUGH)
        await moved.flows()
        await asyncio.to_thread(own_cluster.start, killed)
        await moved.flows()
    await until_true(lambda: chaos_broker.whole(rig.vhost), pause=_LOOK)
    await rig.check(errors=may_end())
    assert near.health()
    assert far.health()


async def test_replies_that_a_node_has_not_passed_on(own_cluster: PrivateCluster) -> None:
    """The node of the caller stands still, and that of the worker is killed with what it could not pass on."""
    callers, elsewhere, workers = own_cluster.fresh_vhost()
    running, finish = asyncio.Semaphore(0), asyncio.Event()

    async def large(number: int) -> tuple[int, bytes]:
        running.release()
        await finish.wait()
        return number, secrets.token_bytes(_LARGE)

    async def ping() -> str:
        return "pong"

    server = RMQServer(url=[workers, elsewhere])
    client, witness = RMQClient(url=f"{callers}?heartbeat=60"), RMQClient(url=elsewhere)
    server.add_service(large, queue_type="quorum", fetch_size=_REPLIES)
    server.add_service(ping)
    pid = int(await asyncio.to_thread(own_cluster.nodes[0].ctl, "eval", "list_to_integer(os:getpid())."))
    async with server, client, witness:
        serving = asyncio.create_task(server.run_serve(signals=False))
        await until_call_gives(witness, "ping", "pong")
        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(client.remote_call("large", (n,), timeout=PLENTY)) for n in range(_REPLIES)]
            for _ in calls:
                await soon(running.acquire())
            os.kill(pid, signal.SIGSTOP)
            try:
                finish.set()
                await until_call_gives(witness, "ping", "pong")  # the node has got what its worker sent before
                await asyncio.to_thread(own_cluster.kill, 2)
            finally:
                os.kill(pid, signal.SIGCONT)
        assert [number for number, _ in map(asyncio.Task.result, calls)] == list(range(_REPLIES))
        server.stop()
        await serving
    await asyncio.to_thread(own_cluster.start, 2)


async def test_streams_and_uploads_between_nodes(
    rig: Rig, chaos_broker: ChaosCluster, own_cluster: PrivateCluster
) -> None:
    services = {"services": "echo,stream,resumable,swell,store,converse", "RABIBRIDGE_QUEUE_TYPE": "quorum"}
    await rig.worker(**services)
    client = await rig.client(chaos_broker.url(rig.vhost, first=1))  # with its queue for replies
    await rig.note_baseline(client, ECHO)

    async def swell(call_id: int) -> list[int]:
        return [number async for number, _ in client.stream("swell", call_id, 400)]

    for found in await soon(asyncio.gather(*map(swell, range(7_000_000, 7_000_010)))):
        assert found == list(range(400))
    assert await Uploads(client, 2000).complete() == {rig.workers[0].pid}

    for killed, error in ((0, StreamError), (1, ConnectionLostError)):
        await until_true(lambda: chaos_broker.whole(rig.vhost), pause=_LOOK)
        plain, resumed = (
            Reader(client, "stream", 2 * killed, ENDLESS),
            Reader(client, "resumable", 1 + 2 * killed, MANY),
        )
        uploads = Uploads(client)
        await asyncio.gather(plain.flows(), resumed.flows(), uploads.flow())
        await asyncio.to_thread(own_cluster.kill, killed)
        await asyncio.gather(plain.ended(error), resumed.ended(), uploads.ended(error))
        assert len(resumed.items) == MANY
        await all_stopped(rig, plain.call_id, resumed.call_id, *uploads.call_ids)
        await asyncio.to_thread(own_cluster.start, killed)
    await until_true(lambda: chaos_broker.whole(rig.vhost), pause=_LOOK)
    await rig.check()


async def test_a_classic_queue_goes_and_comes_back_with_its_node(own_cluster: PrivateCluster) -> None:
    async def home_of_queue() -> str:
        return "here"

    elsewhere, home = own_cluster.fresh_vhost()[:2]
    server, client = RMQServer(url=[home, elsewhere]), RMQClient(url=[elsewhere])
    server.add_service(home_of_queue)
    async with server, client:
        serving = asyncio.create_task(server.run_serve(signals=False))
        await until_call_gives(client, "home_of_queue", "here")
        await asyncio.to_thread(own_cluster.kill, 1)
        # RabbitMQ up to 4.0 answers 404 at once; 4.3 does not answer, and closes the connection after half a minute.
        async with asyncio.timeout(3 * PATIENCE):
            while not any("cannot be declared" in reason for reason in server.health().reasons):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert not serving.done()
        await asyncio.to_thread(own_cluster.start, 1)
        await until_call_gives(client, "home_of_queue", "here")
        assert server.health()
        server.stop()
        await serving
