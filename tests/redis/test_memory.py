"""Servers whose memory is full when a program starts, reconnects or returns calls, and servers that evict keys."""

from __future__ import annotations

import asyncio
import logging
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from rabibridge_core import current_call, register_call
from rabibridge_core.rpc import RpcClient, RpcServer
from tests.support.redis_fixture import needs_redis_server
from tests.support.waiting import soon, until, until_true
from tools.redis_server import PrivateRedis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from rabibridge_redis._session.session import Session

PATIENCE = 60.0


@pytest.fixture(scope="module")
def own_redis() -> Iterator[PrivateRedis]:
    needs_redis_server()
    with PrivateRedis() as node:
        yield node


def echo_server(url: str) -> tuple[RpcServer, str]:
    name = f"echo_{uuid.uuid4().hex}"

    @register_call(name=name)
    async def echo(value: int) -> int:
        assert current_call() is not None
        return value

    server = RpcServer(url=url)
    server.load_services({name: echo})
    return server, name


@asynccontextmanager
async def full_memory(client: RpcClient) -> AsyncIterator[None]:
    """Let the server accept nothing new inside the block."""
    await set_option(client, "maxmemory", "1")
    try:
        yield
    finally:
        await set_option(client, "maxmemory", "0")


async def set_option(client: RpcClient, name: str, value: str) -> None:
    session = client._client.transport.session  # type: ignore[attr-defined]
    await session.commands.ask("CONFIG", "SET", name, value)


async def test_clients_and_workers_that_start_meanwhile_wait_for_room(
    own_redis: PrivateRedis, caplog: pytest.LogCaptureFixture
) -> None:
    server, name = echo_server(own_redis.url)
    late = RpcClient(url=own_redis.url)
    async with RpcClient(url=own_redis.url) as client:
        async with full_memory(client):
            starting = [asyncio.create_task(one.connect()) for one in (server, late)]
            await until(lambda: caplog.text.count("OOM") >= len(starting))
            assert not any(task.done() for task in starting)
        await soon(asyncio.gather(*starting))
        async with server.serving():
            assert await late.remote_call(name, (1,), timeout=PATIENCE) == 1
    await late.close()
    await server.close()


async def test_workers_that_reconnect_meanwhile_serve_when_there_is_room(
    own_redis: PrivateRedis, caplog: pytest.LogCaptureFixture
) -> None:
    server, name = echo_server(own_redis.url)
    async with server.serving(), RpcClient(url=own_redis.url) as client:
        assert await client.remote_call(name, (1,), timeout=PATIENCE) == 1
        async with full_memory(client):
            server._server.transport.abort()  # type: ignore[attr-defined]
            await until(lambda: "OOM" in caplog.text)
            assert not server.health()
        assert await client.remote_call(name, (2,), timeout=PATIENCE) == 2
        assert server.health()


async def test_a_queue_that_is_deleted_meanwhile_is_served_as_before_when_there_is_room(
    own_redis: PrivateRedis,
) -> None:
    server, name = echo_server(own_redis.url)
    async with server.serving(), RpcClient(url=own_redis.url) as client:
        assert await client.remote_call(name, (1,), timeout=PATIENCE) == 1
        session = client._client.transport.session  # type: ignore[attr-defined]
        queue = f"rpc_async_{name}"

        async def has_a_consumer() -> bool:
            found = await session.ask("look", queue)
            return bool(found != -1 and found[0] == 1)

        async with full_memory(client):
            await session.ask("delete", queue, "0")
            await until_true(lambda: declared(session, queue))
            assert not await has_a_consumer(), "it cannot be noted now"
        await until_true(has_a_consumer)
        assert await client.remote_call(name, (2,), timeout=PATIENCE) == 2


async def declared(session: Session, queue: str) -> bool:
    return bool(await session.commands.ask("EXISTS", session.key("q", queue)))


@pytest.mark.parametrize(("policy", "told"), [("allkeys-lru", True), ("noeviction", False)])
async def test_a_worker_warns_of_a_server_that_evicts_keys(
    own_redis: PrivateRedis, caplog: pytest.LogCaptureFixture, policy: str, told: bool
) -> None:
    caplog.set_level(logging.WARNING)
    async with RpcClient(url=own_redis.url) as client:
        await set_option(client, "maxmemory-policy", policy)
        server, name = echo_server(own_redis.url)
        async with server.serving():
            for value in range(3):
                assert await client.remote_call(name, (value,), timeout=PATIENCE) == value
                server._server.transport.abort()  # type: ignore[attr-defined]
        await set_option(client, "maxmemory-policy", "noeviction")
    warnings = [record for record in caplog.records if "maxmemory-policy" in record.getMessage()]
    assert len(warnings) == (1 if told else 0), "also after it has reconnected"
    assert all("calls and queues vanish without an error" in record.getMessage() for record in warnings)
