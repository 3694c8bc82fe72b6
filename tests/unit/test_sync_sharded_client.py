"""The synchronous client of several brokers: calls of every shape, keys, one broker of them, threads, life."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import pytest

from rabibridge import CallTimeoutError, ConfigurationError, ConnectionLostError, ConnectionState, RemoteExecutionError
from rabibridge.sync import ShardedClient
from tests.support.waiting import PATIENCE, until
from tests.unit.shard_support import NAMES

if TYPE_CHECKING:
    from tests.unit.shard_support import Brokers

SHARDS = {name: f"memory://{name}" for name in NAMES}


async def test_calls_of_every_shape_go_to_all_brokers(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)

    def call_all() -> None:
        with ShardedClient(SHARDS, name="shop") as calls:
            assert calls.health()
            found = {calls.call("where") for _ in range(100)}
            assert found == set(NAMES)
            assert {calls.remote_call("where", (1,), timeout=5) for _ in range(50)} <= found
            assert {calls.stub("where", timeout=5)() for _ in range(50)} <= found
            assert set(calls.map("where", range(100))) == found
            assert {tuple(calls.stream("items")) for _ in range(50)} <= {(name,) * 3 for name in NAMES}
            succeeded, (code, error) = calls.try_remote_call("where", ("fail",))
            assert (succeeded, code, type(error)) == (True, 1, RemoteExecutionError)
            brokers.runs.clear()
            for number in range(30):
                calls.notify("where", number)
            assert calls.pending == 0
            assert "east: ready" in repr(calls)
        assert calls.name.startswith("shop")

    await asyncio.to_thread(call_all)
    await until(lambda: len(brokers.runs) == 30)


async def test_a_key_goes_to_one_broker(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)

    def call_all() -> None:
        with ShardedClient(SHARDS) as calls:
            owners = set()
            for key in map(str, range(20)):
                owner = calls.shard_of(key)
                view = calls.for_key(key)
                timed = view.options(timeout=5)
                assert {view.call("where"), timed.remote_call("where"), timed.stub("where")()} == {owner}
                assert list(timed.stream("items")) == [owner] * 3
                assert set(timed.map("where", range(3))) == {owner}
                owners.add(owner)
            assert owners == set(NAMES)
            with pytest.raises(TypeError, match="must be a text"):
                calls.for_key(7)  # type: ignore[arg-type]

    await asyncio.to_thread(call_all)


async def test_one_broker_of_them_can_be_asked(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)

    def call_all() -> None:
        with ShardedClient(SHARDS) as calls:
            assert list(calls.shards) == list(NAMES)
            for name, shard in calls.shards.items():
                assert {shard.call("where"), shard.options(timeout=5).call("where")} == {name}
                assert list(shard.stream("items")) == [name] * 3
                assert [reply.result for reply in shard.broadcast("where")] == [name]
                assert [pong.worker for pong in shard.ping()] == [f"worker {name}"]
                assert "where" in {service.name for service in shard.services()}
                assert (shard.state, shard.last_error, shard.pending) == (ConnectionState.READY, None, 0)
                assert shard.health()
                assert name in repr(shard)

    await asyncio.to_thread(call_all)


async def test_a_broker_that_fails_takes_only_its_share(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    calls = ShardedClient(SHARDS)
    await asyncio.to_thread(calls.connect)
    brokers["east"].lose_connection(restore=False)
    try:
        found = {
            await asyncio.to_thread(calls.options(idempotent=True, timeout=PATIENCE).call, "where") for _ in "x" * 30
        }
        assert found == {"west", "north"}
        assert calls.health()
    finally:
        await asyncio.to_thread(calls.close)


async def test_a_thread_that_waits_no_longer_leaves_the_others_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its timeout ends its own call alone."""
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "1")
    silent = [socket.create_server(("127.0.0.1", 0)) for _ in NAMES]
    urls = [f"amqp://guest:guest@127.0.0.1:{each.getsockname()[1]}/" for each in silent]
    calls = ShardedClient(dict(zip(NAMES, urls, strict=True)))
    patient = asyncio.create_task(asyncio.to_thread(calls.options(timeout=PATIENCE).call, "where"))
    with pytest.raises(CallTimeoutError):
        await asyncio.to_thread(calls.options(timeout=0.05).call, "where")
    with pytest.raises(ConnectionLostError) as error:
        await patient
    for each in silent:
        each.close()
    assert "is closed" not in str(error.value)
    assert all(str(each) in str(error.value) for each in NAMES)
    await asyncio.to_thread(calls.close)


async def test_it_connects_again_after_it_was_closed(brokers: Brokers) -> None:
    for name in NAMES:
        brokers[name].refuse_connections()
    calls = ShardedClient(SHARDS)
    with pytest.raises(ConnectionLostError, match="refuses connections"):
        await asyncio.to_thread(calls.call, "where")
    for name in NAMES:
        brokers[name].restore()
        await brokers.serve(name)
    assert await asyncio.to_thread(calls.call, "where") in NAMES
    await asyncio.to_thread(calls.close)
    with pytest.raises(ConnectionLostError, match=r"call its connect\(\)"):
        await asyncio.to_thread(calls.call, "where")
    await asyncio.to_thread(calls.connect)
    assert await asyncio.to_thread(calls.call, "where") in NAMES
    await asyncio.to_thread(calls.close)


def test_it_takes_what_the_asynchronous_one_takes() -> None:
    with pytest.raises(ConfigurationError, match="shards= must be a dict"):
        ShardedClient("amqp://one/")
    with pytest.raises(ConfigurationError, match="twice"):
        ShardedClient(["memory://one", "memory://one"])


async def test_it_refuses_to_block_an_event_loop() -> None:
    calls = ShardedClient(SHARDS)
    with pytest.raises(ConfigurationError, match="event loop"):
        calls.call("where")


async def test_a_child_connects_by_itself(brokers: Brokers) -> None:
    for name in NAMES:
        await brokers.serve(name)
    calls = ShardedClient(SHARDS)
    view = calls.for_key("7")
    assert await asyncio.to_thread(calls.call, "where") in NAMES
    child = os.fork()
    if not child:  # nothing serves in there
        os._exit(0 if str(os.getpid()) in calls.name and view._of._here.pid == os.getpid() else 1)
    assert os.waitstatus_to_exitcode((await asyncio.to_thread(os.waitpid, child, 0))[1]) == 0
    await asyncio.to_thread(calls.close)
