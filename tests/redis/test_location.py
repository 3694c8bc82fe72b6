"""Sentinels, replicas and clusters: where the server is that accepts calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core import CallTimeoutError, ConfigurationError, ConnectionLostError, NoRouteError, register_call
from rabibridge_core.rpc import RpcClient, RpcServer
from tests.support.redis_fixture import needs_redis_server
from tools.redis_set import RedisCluster, RedisWithSentinels, ask

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE = 60.0


@register_call(fetch_size=3, idempotent=True)
async def echo(value: int) -> int:
    await asyncio.sleep(0)
    return value


@pytest.fixture(scope="module")
def sentinels() -> Iterator[RedisWithSentinels]:
    """Five servers of their own: one of them is killed."""
    needs_redis_server()
    with RedisWithSentinels() as servers:
        yield servers


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    needs_redis_server()
    with RedisCluster() as servers:
        yield servers


async def test_a_service_that_the_sentinels_do_not_know_is_an_error(sentinels: RedisWithSentinels) -> None:
    url = f"redis+sentinel://127.0.0.1:{sentinels.sentinels[0].port}/0?sentinel_service=other"
    with pytest.raises(ConfigurationError, match="knows no service 'other'"):
        await RpcClient(url=url).connect()


async def test_a_server_is_no_sentinel_and_a_sentinel_no_server(sentinels: RedisWithSentinels) -> None:
    with pytest.raises(ConfigurationError, match="is a Redis server, not a Sentinel"):
        await RpcClient(url=f"redis+sentinel://127.0.0.1:{sentinels.primary.port}/0").connect()
    with pytest.raises(ConfigurationError, match=r"is a Sentinel: use redis\+sentinel://"):
        await RpcClient(url=sentinels.sentinels[0].url).connect()


async def test_a_replica_is_passed_over_and_named(
    sentinels: RedisWithSentinels, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RpcClient(url=f"{sentinels.replica.url},{sentinels.primary.url}"):
        pass
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "0.1")
    with pytest.raises(ConnectionLostError, match="is a replica, which accepts no calls"):
        await RpcClient(url=sentinels.replica.url).connect()


async def test_calls_go_on_when_the_primary_dies(sentinels: RedisWithSentinels) -> None:
    first = sentinels.primary
    server = RpcServer(url=sentinels.url)
    server.add_service(echo)
    results: list[int] = []
    errors: list[BaseException] = []
    ending = asyncio.Event()

    async def call(client: RpcClient, number: int) -> None:
        while not ending.is_set():
            try:
                results.append(await client.remote_call("echo", (number,), timeout=PATIENCE) - number)
            except (ConnectionLostError, CallTimeoutError, NoRouteError) as error:
                errors.append(error)

    async with asyncio.timeout(PATIENCE), server.serving(), RpcClient(url=sentinels.url) as client:
        callers = [asyncio.create_task(call(client, number)) for number in range(20)]
        while len(results) < 100:  # noqa: ASYNC110 - each call tells it
            await asyncio.sleep(0.01)
        await asyncio.to_thread(first.kill)
        while f"{sentinels.replica.port}" not in repr(client._client.transport.session):  # type: ignore[attr-defined]  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        before = len(results)
        while len(results) < before + 100:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        ending.set()
        await asyncio.gather(*callers)
    assert set(results) == {0}
    assert not errors, errors[0]


async def test_databases_of_one_server_are_apart(redis_url: str) -> None:
    there, here = redis_url.replace("/0", "/1"), redis_url
    server = RpcServer(url=there)
    server.add_service(echo)
    async with server.serving(), RpcClient(url=here) as client, RpcClient(url=there) as other:
        with pytest.raises(NoRouteError) as called:
            await client.remote_call("echo", (1,), timeout=PATIENCE)
        with pytest.raises(NoRouteError) as sent_to_all:
            [_ async for _ in client.broadcast("echo", 1)]
        assert called.value.__notes__ == sent_to_all.value.__notes__ == [f"It was looked for on {redis_url}."]
        assert not await client.ping(timeout=0.2)
        assert [reply.result async for reply in other.broadcast("echo", 2)] == [2]


async def test_a_namespace_is_on_one_node_of_a_cluster(cluster: RedisCluster) -> None:
    at: dict[str, int] = {}
    for number in range(6):
        namespace = f"part{number}"
        server = RpcServer(url=cluster.urls[0], namespace=namespace)
        server.add_service(echo)
        async with server.serving(), RpcClient(url=cluster.urls[1], namespace=namespace) as client:
            calls = [client.remote_call("echo", (value,), timeout=PATIENCE) for value in range(50)]
            assert await asyncio.gather(*calls) == list(range(50))
            assert len(await client.ping(timeout=5)) == 1
            at[namespace] = client._client.transport.session.endpoint.port  # type: ignore[attr-defined]
    assert len(set(at.values())) == 2, at
    with pytest.raises(ConfigurationError, match=r"SELECT|DB index"):  # Redis, and Valkey 9
        await RpcClient(url=cluster.urls[0].replace("/0", "/1")).connect()


async def test_a_namespace_that_moves_to_another_node_is_found_there(cluster: RedisCluster) -> None:
    namespace = "moving"
    server = RpcServer(url=cluster.urls[0], namespace=namespace)
    server.add_service(echo)
    async with asyncio.timeout(PATIENCE), server.serving():
        client = RpcClient(url=cluster.urls[0], namespace=namespace)
        async with client:
            assert await client.remote_call("echo", (1,), timeout=PATIENCE) == 1
            session = client._client.transport.session  # type: ignore[attr-defined]
            slot = await session.commands.ask("CLUSTER", "KEYSLOT", session.prefix)
            keys = await session.commands.ask("CLUSTER", "GETKEYSINSLOT", str(slot), "1000")
            (other,) = [one.port for one in cluster.servers if one.port != session.endpoint.port]
            me = await session.commands.ask("CLUSTER", "MYID")
            it = ask(other, "CLUSTER", "MYID").split()[1]
            ask(other, "CLUSTER", "SETSLOT", str(slot), "IMPORTING", me.decode())
            await session.commands.ask("CLUSTER", "SETSLOT", str(slot), "MIGRATING", it)
            await session.commands.ask("MIGRATE", "127.0.0.1", str(other), "", "0", "5000", "KEYS", *keys)
            ask(other, "CLUSTER", "SETSLOT", str(slot), "NODE", it)
            # Not by the session: once the node has heard that the slot has moved, the session is given up.
            ask(session.endpoint.port, "CLUSTER", "SETSLOT", str(slot), "NODE", it)
            while await client.remote_call("echo", (2,), timeout=PATIENCE) != 2:
                pass
            assert client._client.transport.session.endpoint.port == other  # type: ignore[attr-defined]
