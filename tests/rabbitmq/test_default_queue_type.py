"""Virtual hosts whose default queue type is quorum, where RabiBridge 0.1.2, which names no type, has quorum queues."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import aiormq
import pytest
from yarl import URL

from rabibridge import ConfigurationError, RMQClient, RMQServer
from tests.rabbitmq.support import ctl, until_call_gives
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tools.broker import Broker


@pytest.fixture
async def quorum_url(governed: Broker, vhost_url: str) -> AsyncIterator[str]:
    """A virtual host whose queues are quorum queues unless they are declared otherwise."""
    vhost = f"quorum-{secrets.token_hex(4)}"
    user = URL(vhost_url).user
    assert user is not None
    try:
        await ctl(governed, "add_vhost", vhost, "--default-queue-type", "quorum")
    except Exception as error:  # noqa: BLE001 - whatever rabbitmqctl says of an option that it does not know
        pytest.skip(f"this RabbitMQ has no default queue types: {error}")
    await ctl(governed, "set_permissions", "-p", vhost, user, ".*", ".*", ".*")
    yield str(URL(vhost_url).with_path(f"/{vhost}"))
    await ctl(governed, "delete_vhost", vhost)


async def _declare_as_0_1_2(url: str, name: str, **arguments: int) -> None:
    connection = await aiormq.connect(url)
    async with connection:
        channel = await connection.channel()
        await channel.queue_declare(name, durable=True, arguments={"x-overflow": "reject-publish", **arguments})


async def test_a_queue_of_0_1_2_is_served_as_it_is(quorum_url: str, governed: Broker) -> None:
    runs: list[int] = []

    async def shared(number: int) -> int:
        runs.append(number)
        return number

    await _declare_as_0_1_2(quorum_url, "rpc_async_shared", **{"x-max-length": 5})
    rows = await ctl(governed, "list_queues", "-p", URL(quorum_url).path[1:], "name", "type")
    if ["rpc_async_shared", "quorum"] not in rows:
        pytest.skip(f"this RabbitMQ does not use the default type: {rows}")
    server, client = RMQServer(url=quorum_url), RMQClient(url=quorum_url)
    server.add_service(shared, queue_size=5)
    async with server, client:
        running = asyncio.create_task(server.run_serve(signals=False))
        await until_call_gives(client, "shared", 1, 1)
        await _declare_as_0_1_2(quorum_url, "rpc_async_shared", **{"x-max-length": 5})  # they share it
        assert server.health()
        server.stop()
        await soon(running)
    other = RMQServer(url=quorum_url)
    other.add_service(shared, queue_size=6)
    with pytest.raises(ConfigurationError, match="the queue 'rpc_async_shared' exists with other limits"):
        await soon(other.connect())


async def test_a_queue_of_the_other_kind_that_is_a_quorum_queue_is_removed(quorum_url: str, governed: Broker) -> None:
    def changed() -> str:
        return "sync"

    await _declare_as_0_1_2(quorum_url, "rpc_async_changed")
    server, client = RMQServer(url=quorum_url), RMQClient(url=quorum_url)
    server.add_service(changed)
    async with server, client:
        running = asyncio.create_task(server.run_serve(signals=False))
        await until_call_gives(client, "changed", "sync", ftype="any")
        rows = await ctl(governed, "list_queues", "-p", URL(quorum_url).path[1:], "name")
        assert ["rpc_async_changed"] not in rows
        server.stop()
        await soon(running)
