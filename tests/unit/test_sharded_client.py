"""Calls over several independent brokers: where they go, and where else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core import CircuitBreaker, RetryRefused
from rabibridge_core.errors import (
    CallTimeoutError,
    CircuitOpenError,
    ConnectionLostError,
    NoRouteError,
    QueueFullError,
    RemoteExecutionError,
)
from rabibridge_core.rpc import ShardedClient
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from tests.unit.shard_support import Brokers

from tests.unit.shard_support import NAMES, client, keys_of


async def test_calls_of_every_shape_go_to_all_brokers(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        found = {await calls.call("where") for _ in range(100)}
        found |= {await calls.remote_call("where", (1,), timeout=5) for _ in range(100)}
        found |= {await calls.stub("where", timeout=5)() for _ in range(100)}
        found |= {where async for where in calls.map("where", range(100))}
        assert found == set(NAMES)
        streams = [[where async for where in calls.stream("items")] for _ in range(100)]
        assert {tuple(items) for items in streams} == {(name,) * 3 for name in NAMES}
        succeeded, (code, error) = await calls.try_remote_call("where", ("fail",))
        assert (succeeded, code, type(error)) == (True, 1, RemoteExecutionError)
        brokers.runs.clear()
        for number in range(60):
            await calls.notify("where", number)
        await until(lambda: len(brokers.runs) == 60)
        assert calls.pending == 0


async def test_a_key_goes_to_one_broker(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        for key in map(str, range(30)):
            view = calls.for_key(key).options(timeout=5)
            owner = calls.shard_of(key)
            assert {await view.call("where"), await view.remote_call("where"), await view.stub("where")()} == {owner}
            assert [where async for where in view.stream("items")] == [owner] * 3
            await view.notify("where", key)
        await until(lambda: sum(value is not None for _, value in brokers.runs) == 30)
        assert all(name == calls.shard_of(key) for name, key in brokers.runs if key is not None)
    with pytest.raises(TypeError, match="must be a text"):
        calls.for_key(7)  # type: ignore[arg-type]


async def test_an_error_of_the_function_goes_nowhere_else(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        with pytest.raises(RemoteExecutionError, match="fail"):
            await calls.options(idempotent=True).call("where", "fail")
        assert len(brokers.runs) == 1


async def test_a_full_queue_is_avoided_and_another_broker_asked_once(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        refusals = [brokers["east"].refuse("where")]
        assert {await calls.call("where") for _ in range(20)} <= {"west", "north"}
        assert refusals[0].struck <= 2  # it is not asked each time
        refusals.extend(brokers[name].refuse("where") for name in ("west", "north"))
        with pytest.raises(QueueFullError):
            await calls.call("where")
        struck = sum(fault.struck for fault in refusals)
        with pytest.raises(QueueFullError):
            await calls.call("where")
        assert sum(fault.struck for fault in refusals) - struck == 2  # one and one other, not all in turn
        for fault in refusals:
            fault.stop()
        assert await calls.call("where") in NAMES


async def test_refused_calls_are_retried_after_another_broker_was_asked(brokers: Brokers) -> None:
    for name in ("east", "west"):
        await brokers.serve(name)
    async with ShardedClient(["memory://east", "memory://west"], retry=RetryRefused(base=0.01)) as calls:
        first, second = (brokers[name].refuse("where", times=times) for name, times in (("east", 1), ("west", 2)))
        found = [await calls.options(timeout=30).call("where") for _ in range(20)]
        assert set(found) <= {"east", "west"}
        assert len(brokers.runs) == 20
        assert first.struck + second.struck >= 2


async def test_a_service_that_one_broker_has_is_found_there(brokers: Brokers) -> None:
    await brokers.serve("north")
    async with client() as calls:
        assert {await calls.call("where") for _ in range(20)} == {"north"}
        with pytest.raises(NoRouteError):
            await calls.call("nowhere")
        with pytest.raises(NoRouteError):  # a key has one broker
            await calls.for_key(keys_of(calls, "east")[0]).call("where")


@pytest.mark.parametrize("key", [False, True])
async def test_idempotent_calls_go_elsewhere_and_others_end(brokers: Brokers, key: bool) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        view = calls.for_key(keys_of(calls, "east")[0]) if key else calls
        brokers.gate.clear()
        again = [asyncio.ensure_future(view.options(timeout=30, idempotent=True).call("where", 1)) for _ in range(30)]
        once = [asyncio.ensure_future(view.options(timeout=30).call("where", 2)) for _ in range(30)]
        await until(lambda: len(brokers.runs) >= 3 and calls.pending == 60)
        there = calls.shards["east"].pending
        assert there == 60 if key else 0 < there < 60
        brokers["east"].lose_connection(restore=False)
        brokers.gate.set()
        assert "east" not in await soon(asyncio.gather(*again))
        ended = await soon(asyncio.gather(*once, return_exceptions=True))
        lost = [error for error in ended if isinstance(error, ConnectionLostError)]
        assert {where for where in ended if isinstance(where, str)} <= {"west", "north"}
        assert 0 < len(lost) == sum(not isinstance(where, str) for where in ended)
        assert all(error.executed is None for error in lost)
        # New calls go on, those with a key only if they are idempotent.
        assert await view.options(timeout=30, idempotent=True).call("where") in {"west", "north"}
        if key:
            with pytest.raises(CallTimeoutError) as waited:
                await view.options(timeout=0.05).call("where")
            assert waited.value.executed is False
        else:
            assert {await view.options(timeout=30).call("where") for _ in range(20)} <= {"west", "north"}
        assert calls.health()
        assert any(reason.startswith("east: ") for reason in calls.health().reasons)
        brokers["east"].restore()
        await until(lambda: bool(calls.shards["east"].health()))
        assert calls.health().reasons == ()
        assert calls.pending == 0


async def test_an_idempotent_call_comes_back_to_its_broker_if_there_is_no_other(brokers: Brokers) -> None:
    await brokers.serve("east")
    async with ShardedClient(["memory://east"]) as calls:
        brokers.gate.clear()
        call = asyncio.ensure_future(calls.options(timeout=30, idempotent=True).call("where"))
        await until(lambda: len(brokers.runs) == 1)
        brokers["east"].lose_connection()
        await until(lambda: calls.pending == 1 and bool(calls.health()))
        brokers.gate.set()
        assert await soon(call) == "east"


async def test_if_no_broker_can_be_reached_calls_wait_for_the_first(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        for name in NAMES:
            brokers[name].lose_connection(restore=False)
        assert not calls.health()
        with pytest.raises(CallTimeoutError, match="could not be sent") as waited:
            await calls.options(timeout=0.05).call("where")
        assert waited.value.executed is False
        waiting = [asyncio.ensure_future(calls.options(timeout=60).call("where")) for _ in range(10)]
        idempotent = asyncio.ensure_future(calls.options(timeout=60, idempotent=True).call("where"))
        keyed = asyncio.ensure_future(
            calls.for_key(keys_of(calls, "east")[0]).options(timeout=60, idempotent=True).call("where")
        )
        brokers["west"].restore()
        assert set(await soon(asyncio.gather(*waiting, idempotent, keyed))) == {"west"}


async def test_a_call_that_was_sent_and_then_refused_says_that_it_may_have_run(brokers: Brokers) -> None:
    await brokers.serve("east")
    async with ShardedClient(["memory://east", "memory://west"]) as calls:
        brokers.gate.clear()
        call = asyncio.ensure_future(calls.options(timeout=60, idempotent=True).call("where"))
        await until(lambda: len(brokers.runs) == 1)
        brokers["east"].lose_connection(restore=False)
        with pytest.raises(NoRouteError) as error:
            await soon(call)
        assert error.value.executed is None
        assert any("may have run then" in note for note in error.value.__notes__)


async def test_an_open_circuit_at_one_broker_sends_calls_to_another(brokers: Brokers) -> None:
    for name in ("east", "west"):
        await brokers.serve(name)
    breaker = CircuitBreaker(minimum=1, open_for=3600)
    async with ShardedClient({name: f"memory://{name}" for name in ("east", "west")}) as calls:
        view = calls.options(breaker=breaker, timeout=30)
        with brokers["east"].refuse("where"), pytest.raises(QueueFullError):
            await calls.shards["east"].options(breaker=breaker).call("where")
        with pytest.raises(CircuitOpenError):
            await calls.shards["east"].options(breaker=breaker).call("where")
        assert {await view.call("where") for _ in range(20)} == {"west"}
