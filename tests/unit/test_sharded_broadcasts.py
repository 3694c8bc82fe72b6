"""Broadcasts over several brokers: the replies of all in one loop, and what becomes of brokers that fail."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge.sync import ShardedClient
from rabibridge_core.errors import CallTimeoutError, ConfigurationError, ConnectionLostError, NoRouteError
from tests.support.waiting import PATIENCE, until
from tests.unit.shard_support import NAMES, client, keys_of

if TYPE_CHECKING:
    from tests.unit.shard_support import Brokers


async def test_the_workers_of_all_brokers_answer_in_one_loop(brokers: Brokers) -> None:
    for name in (*NAMES, "east"):
        await brokers.serve(name)
    async with client() as calls:
        broadcast = calls.options(timeout=PATIENCE).broadcast("where", 7)
        assert repr(broadcast) == "<ShardedBroadcast of 'where': not sent>"
        replies = [reply async for reply in broadcast]
        assert sorted((reply.shard or "", reply.worker, reply.result) for reply in replies) == sorted(
            (name, f"worker {name}", name) for name in (*NAMES, "east")
        )
        assert f"shard={replies[0].shard!r}" in repr(replies[0])
        assert (broadcast.complete, broadcast.missing, broadcast.silent, broadcast.failed) == (True, (), 0, {})
        assert repr(broadcast) == "<ShardedBroadcast of 'where': 4 answers, 0 missing, 0 brokers failed>"
        assert sorted(brokers.runs) == sorted((name, 7) for name in (*NAMES, "east"))
        with pytest.raises(RuntimeError, match="was sent already"):
            aiter(broadcast)
        failing = [reply async for reply in calls.broadcast("where", "fail")]
        assert all(reply.error is not None for reply in failing)
        assert len(failing) == 4


async def test_a_broadcast_of_a_key_goes_to_its_broker(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        key = keys_of(calls, "west")[0]
        assert [reply.result async for reply in calls.for_key(key).broadcast("where")] == ["west"]


async def test_a_broker_where_nobody_serves_it_has_no_workers_to_wait_for(brokers: Brokers) -> None:
    await brokers.serve("east")
    async with client() as calls:
        broadcast = calls.broadcast("where")
        assert [reply.result async for reply in broadcast] == ["east"]
        assert (broadcast.complete, broadcast.silent) == (True, 0)
        assert {name: type(error) for name, error in broadcast.failed.items()} == {
            "west": NoRouteError,
            "north": NoRouteError,
        }
        with pytest.raises(NoRouteError):
            _ = [reply async for reply in calls.broadcast("nothing")]
        with pytest.raises(ConfigurationError):
            calls.broadcast("")


async def test_a_broker_that_is_away_takes_only_its_own_replies(brokers: Brokers) -> None:
    for name in ("west", "north"):
        await brokers.serve(name)
    brokers["east"].refuse_connections()
    async with client() as calls:
        await until(lambda: all(calls.shards[name].health() for name in ("west", "north")))
        broadcast = calls.broadcast("where")
        assert {reply.result async for reply in broadcast} == {"west", "north"}
        assert isinstance(broadcast.failed["east"], ConnectionLostError)
        assert not broadcast.complete
        brokers["west"].lose_connection(restore=False)
        broadcast = calls.options(timeout=0.3).broadcast("where")
        assert {reply.result async for reply in broadcast} == {"north"}
        assert isinstance(broadcast.failed["west"], CallTimeoutError | ConnectionLostError)
        brokers["north"].lose_connection(restore=False)
        with pytest.raises((CallTimeoutError, ConnectionLostError)):
            _ = [reply async for reply in calls.options(timeout=0.3).broadcast("where")]
    with pytest.raises(ConnectionLostError, match="closed"):
        _ = [reply async for reply in calls.broadcast("where")]


async def test_leaving_the_loop_ends_it_at_all_brokers(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    brokers.gate.clear()
    async with client() as calls:
        task = asyncio.create_task(_all_of(calls.options(timeout=PATIENCE).broadcast("where")))
        await until(lambda: len(brokers.runs) == 3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not any(shard._client.calls.broadcasts for shard in calls.shards.values())


async def _all_of(broadcast: object) -> list[object]:
    return [reply async for reply in broadcast]  # type: ignore[attr-defined]


async def test_the_synchronous_client_has_it_too(brokers: Brokers) -> None:
    for name in ("west", "north"):
        await brokers.serve(name)

    def broadcast_here() -> None:
        with ShardedClient({name: f"memory://{name}" for name in NAMES}) as calls:
            broadcast = calls.options(timeout=PATIENCE).broadcast("where")
            assert broadcast.failed == {}
            assert {(reply.shard, reply.result) for reply in broadcast} == {("west", "west"), ("north", "north")}
            assert list(broadcast.failed) == ["east"]
            assert broadcast.complete

    await asyncio.to_thread(broadcast_here)
