"""A client of several independent brokers connects, closes, and says what is wrong."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core import current_call
from rabibridge_core.errors import (
    ConfigurationError,
    ConnectionLostError,
    NoRouteError,
)
from rabibridge_core.rpc import RpcServer, ShardedClient
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.unit.shard_support import Brokers

from tests.unit.shard_support import NAMES, client, keys_of


async def test_it_connects_if_one_broker_can_be_reached(brokers: Brokers, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("west", "north"):
        await brokers.serve(name)
    brokers["east"].refuse_connections()
    async with client() as calls:
        assert {await calls.call("where") for _ in range(30)} <= {"west", "north"}
        key = keys_of(calls, "east")[0]
        assert await calls.for_key(key).options(idempotent=True, timeout=30).call("where") in {"west", "north"}
        waiting = asyncio.ensure_future(calls.for_key(key).options(timeout=60).call("where"))
        brokers["east"].restore()
        with pytest.raises(NoRouteError):  # nobody serves when it arrives
            await soon(waiting)
        assert calls.shards["east"].health()
        await brokers.serve("east")
        assert {await calls.call("where") for _ in range(100)} >= {"west", "north"}
        assert await calls.for_key(key).call("where") == "east"


async def test_it_says_why_none_can_be_reached(brokers: Brokers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "0.05")
    calls = ShardedClient({name: f"amqp://user:hidden@127.0.0.1:{port}/" for port, name in enumerate(NAMES, 1)})
    with pytest.raises(ConnectionLostError) as error:
        await calls.connect()
    assert all(f"{name}: " in str(error.value) for name in NAMES)
    assert all(f"127.0.0.1:{port}" in str(error.value) for port in range(1, 4))
    assert "hidden" not in str(error.value) + repr(calls)
    with pytest.raises(ConnectionLostError):
        await calls.call("where")
    await calls.close()


async def test_closing_ends_all_calls_and_it_connects_again(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    calls = client(name="gateway")
    await calls.connect()
    await calls.connect()
    brokers.gate.clear()
    pending = [asyncio.ensure_future(calls.options(idempotent=number % 2 == 0).call("where")) for number in range(20)]
    await until(lambda: calls.pending == 20)
    await calls.close()
    await calls.close()
    ended = await soon(asyncio.gather(*pending, return_exceptions=True))
    assert {type(error) for error in ended} == {ConnectionLostError}
    assert not calls.health()
    brokers.gate.set()
    async with calls:
        assert await soon(calls.call("where")) in NAMES
    assert all(name in repr(calls) for name in ("gateway", "east: closed"))


async def test_cancelling_a_call_ends_it_everywhere(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        brokers.gate.clear()
        call = asyncio.ensure_future(calls.options(idempotent=True).call("where"))
        await until(lambda: len(brokers.runs) == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert calls.pending == 0


async def test_what_belongs_to_one_broker_is_reached_by_its_client(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    async with client() as calls:
        heard = [reply.result for shard in calls.shards.values() async for reply in shard.broadcast("where")]
        assert sorted(heard) == sorted(NAMES)
        found = await asyncio.gather(*(shard.workers() for shard in calls.shards.values()))
        assert Counter(worker.name for workers in found for worker in workers) == {
            f"worker {name}": 1 for name in NAMES
        }


@pytest.mark.parametrize(
    "shards", [[], {}, "memory://a", None, {"": "memory://a"}, {1: "memory://a"}, [1], [["memory://a"]]]
)
def test_brokers_that_are_none_are_refused(shards: Any) -> None:
    with pytest.raises(ConfigurationError, match="shards="):
        ShardedClient(shards)


def test_a_broker_is_not_given_twice() -> None:
    with pytest.raises(ConfigurationError, match="twice"):
        ShardedClient(["memory://a", "memory://a"])


async def test_a_view_says_whose_it_is(brokers: Brokers) -> None:
    calls = client(name="gateway")
    assert "gateway" in repr(calls.for_key("a").options(timeout=5))
    assert "timeout=5" in repr(calls.for_key("a").options(timeout=5))


async def test_progress_and_uploads(brokers: Brokers) -> None:
    servers = [RpcServer(url=f"memory://{name}") for name in NAMES]

    async def count(numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    async def slow() -> str:
        current_call().progress(0.5)
        await released.wait()
        return "done"

    async def numbers() -> AsyncIterator[int]:
        for number in range(10):
            yield number

    for server in servers:
        server.add_service(count)
        server.add_service(slow)
    heard: list[Any] = []
    released = asyncio.Event()
    async with servers[0].serving(), servers[1].serving(), servers[2].serving(), client() as calls:
        assert await soon(calls.call(count, numbers())) == 45
        call = asyncio.ensure_future(calls.options(on_progress=heard.append).call("slow"))
        await until(lambda: bool(heard))
        released.set()
        assert await soon(call) == "done"
    assert [report.fraction for report in heard] == [0.5]


async def _elsewhere(work: Callable[[], Awaitable[Any]]) -> Any:
    return await work()


async def test_it_belongs_to_one_loop(brokers: Brokers, caplog: pytest.LogCaptureFixture) -> None:
    await brokers.serve("east")
    with caplog.at_level(logging.ERROR):
        async with client() as calls:

            def other() -> None:
                with pytest.raises(ConfigurationError, match="loop"):
                    asyncio.run(_elsewhere(lambda: calls.options(timeout=5).call("where")))

            await asyncio.to_thread(other)
            assert await calls.call("where") == "east"
