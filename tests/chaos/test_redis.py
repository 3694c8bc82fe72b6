"""Faults of workers, connections and servers with Redis: no call is lost, wrong, or without an end.

``make chaos`` runs all of them, ``make test`` those that are not marked as full.
"""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rabibridge import CallTimeoutError, ConnectionLostError
from tests.chaos.ledger import ECHO, KEYED, LASTING, ONCE, SAFE, THREAD, WORK
from tests.chaos.redis_broker import ChaosRedis
from tests.chaos.rig import Rig
from tests.support.redis_fixture import needs_redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

full = pytest.mark.skipif(os.environ.get("CHAOS_FULL") != "1", reason="only in `make chaos`: it takes long")

PLANS = (ECHO, WORK, SAFE, KEYED, LASTING, THREAD, ONCE)
UNKNOWN = {ONCE: (ConnectionLostError, CallTimeoutError)}
BROKEN = {**dict.fromkeys((ECHO, WORK, LASTING, THREAD), (ConnectionLostError,)), **UNKNOWN}
"""Calls that are not idempotent end when the connection does; idempotent ones must have their result."""
SHORT = replace(WORK, seconds=(0.05, 0.5), timeout=1.5)


@pytest.fixture(scope="module")
def chaos_redis() -> Iterator[ChaosRedis]:
    """A server that may be killed."""
    needs_redis_server()
    broker = ChaosRedis()
    with broker.node:
        yield broker


@pytest.fixture
async def redis_rig(chaos_redis: ChaosRedis, tmp_path: Path) -> AsyncIterator[Rig[ChaosRedis]]:
    """Workers, clients and load in a database of their own."""
    async with Rig(chaos_redis, tmp_path) as rig:
        yield rig


@pytest.fixture
async def quick_redis_rig(chaos_redis: ChaosRedis, tmp_path: Path) -> AsyncIterator[Rig[ChaosRedis]]:
    """The same with a lease of three seconds: a silent connection is noticed soon."""
    async with Rig(chaos_redis, tmp_path, heartbeat=1) as rig:
        yield rig


async def test_one_of_two_workers_is_killed(redis_rig: Rig[ChaosRedis]) -> None:
    rig = redis_rig
    first, _ = await rig.two_workers()
    load = await rig.load(await rig.client())
    first.kill()
    rig.workers.remove(first)
    await load.flows()
    await rig.worker()
    await rig.check(errors=UNKNOWN)


async def test_the_server_is_killed_and_restarted(redis_rig: Rig[ChaosRedis], chaos_redis: ChaosRedis) -> None:
    rig, node = redis_rig, chaos_redis.node
    await rig.two_workers()
    load = await rig.load(await rig.client(), *PLANS)
    await asyncio.to_thread(node.kill)
    await until(lambda: len(rig.ledger.ended_with(ConnectionLostError)) > 100)  # none waits for its timeout
    await asyncio.to_thread(node.start)
    await load.flows()
    await rig.check(errors=BROKEN)


async def test_the_connections_of_both_sides_are_reset(redis_rig: Rig[ChaosRedis]) -> None:
    rig = redis_rig
    callers, workers = await rig.network(), await rig.network()
    await asyncio.gather(rig.worker(url=workers.url), rig.worker())
    load = await rig.load(await rig.client(callers.url), *PLANS)
    for _ in range(3):
        for network in (callers, workers):
            network.cut()
        await load.flows()
    await rig.check(errors=BROKEN)


@full
async def test_the_only_worker_is_killed_and_the_next_starts_after_two_seconds(redis_rig: Rig[ChaosRedis]) -> None:
    rig = redis_rig
    worker = await rig.worker()
    load = await rig.load(await rig.client())
    worker.kill()
    rig.workers.remove(worker)
    await asyncio.sleep(2)
    await rig.worker()
    await load.flows()
    await rig.check(errors=UNKNOWN)


@full
async def test_workers_are_killed_one_after_the_other(redis_rig: Rig[ChaosRedis]) -> None:
    rig = redis_rig
    await rig.two_workers()
    load = await rig.load(await rig.client())
    for _ in range(8):
        doomed = rig.workers.pop(0)
        doomed.kill()
        await rig.worker()
        await load.flows()
    await rig.check(errors=UNKNOWN)


@full
async def test_one_of_two_workers_is_told_to_end(redis_rig: Rig[ChaosRedis]) -> None:
    rig = redis_rig
    first, _ = await rig.two_workers()
    load = await rig.load(await rig.client())
    first.send(signal.SIGTERM)
    rig.workers.remove(first)
    assert await first.ended() == 0
    await load.flows()
    await rig.worker()
    await rig.check(runs_twice=False)
    assert {run.end for runs in rig.runs().values() for run in runs} == {"end"}


@full
async def test_a_worker_is_frozen_and_woken_when_its_lease_has_ended(quick_redis_rig: Rig[ChaosRedis]) -> None:
    rig = quick_redis_rig
    first, _ = await rig.two_workers()
    load = await rig.load(await rig.client())
    first.send(signal.SIGSTOP)
    under_way = [entry for entry in rig.ledger.entries.values() if entry.ended is None]
    await until(lambda: all(entry.ended is not None for entry in under_way))
    first.send(signal.SIGCONT)
    await load.flows()
    await rig.check(errors=UNKNOWN)


@full
@pytest.mark.parametrize("direction", ["towards the server", "from the server"])
async def test_connections_fall_silent(quick_redis_rig: Rig[ChaosRedis], direction: str) -> None:
    rig, up = quick_redis_rig, direction == "towards the server"
    callers, workers = await rig.network(), await rig.network()
    await asyncio.gather(rig.worker(url=workers.url), rig.worker())
    load = await rig.load(await rig.client(callers.url), *PLANS)
    for network in (callers, workers):
        network.freeze(up=up, down=not up)
    plain = [entry for entry in rig.ledger.of(ECHO, WORK, THREAD) if entry.ended is None]
    await until(lambda: all(entry.ended is not None for entry in plain))
    for network in (callers, workers):
        network.thaw()
    await load.flows()
    await rig.check(errors=BROKEN)


@full
async def test_the_server_is_slow(redis_rig: Rig[ChaosRedis], chaos_redis: ChaosRedis) -> None:
    rig = redis_rig
    network = await rig.network()
    network.delay = 0.1
    await rig.two_workers(url=network.url)
    load = await rig.load(await rig.client(network.url), *PLANS)
    for _ in range(5):
        chaos_redis.node.pause()  # as a disk does that takes long, with `appendfsync always`
        await asyncio.sleep(1)
        chaos_redis.node.resume()
        await load.flows()
    await rig.check(runs_twice=False)


@full
async def test_the_server_closes_all_connections_twenty_times(
    redis_rig: Rig[ChaosRedis], chaos_redis: ChaosRedis
) -> None:
    rig = redis_rig
    workers = await rig.two_workers()
    load = await rig.load(await rig.client(), *PLANS)
    await chaos_redis.kill_connections()
    await load.flows()
    early = [(await worker.state())["rss"] for worker in workers]
    for _ in range(19):
        await chaos_redis.kill_connections()
        await load.flows(20)
    await rig.check(errors=BROKEN)
    late = [(await worker.state())["rss"] for worker in workers]
    assert all(after < before + 16 * 2**20 for before, after in zip(early, late, strict=True)), (early, late)


@full
async def test_the_memory_is_full_for_a_while(redis_rig: Rig[ChaosRedis], chaos_redis: ChaosRedis) -> None:
    rig = redis_rig
    await rig.two_workers()
    load = await rig.load(await rig.client(), ECHO, WORK, SAFE, THREAD, SHORT)
    await chaos_redis.ask(("CONFIG", "SET", "maxmemory", "1"))
    await asyncio.sleep(5)
    await chaos_redis.ask(("CONFIG", "SET", "maxmemory", "0"))
    await load.flows()
    await rig.check(errors={SHORT: (CallTimeoutError,)}, runs_twice=False)
    late = rig.ledger.ended_with(CallTimeoutError)
    assert any(getattr(entry.error, "executed", None) is False for entry in late)


@full
async def test_the_scripts_are_forgotten_under_load(redis_rig: Rig[ChaosRedis], chaos_redis: ChaosRedis) -> None:
    rig = redis_rig
    await rig.two_workers()
    load = await rig.load(await rig.client(), *PLANS)
    for _ in range(10):
        await chaos_redis.ask(("SCRIPT", "FLUSH"))
        await load.flows()
    await rig.check(runs_twice=False)


@full
async def test_the_server_is_a_replica_for_a_while(redis_rig: Rig[ChaosRedis], chaos_redis: ChaosRedis) -> None:
    rig = redis_rig
    await rig.two_workers()
    load = await rig.load(await rig.client(), *PLANS)
    await chaos_redis.ask(("REPLICAOF", "127.0.0.1", "1"))
    await until(lambda: len(rig.ledger.ended_with(ConnectionLostError)) > 100)
    await chaos_redis.ask(("REPLICAOF", "NO", "ONE"))
    await load.flows()
    await rig.check(errors=BROKEN)
