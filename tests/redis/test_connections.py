"""Connections that are lost while they are set up, fall silent, or are refused because there are too many.

The silence takes as long as the shortest lease allows, 3 s; all else ends at once.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from rabibridge_core import ConnectionLostError, NoRouteError, register_call
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_core.settings import load_settings
from rabibridge_redis._scripts.scripts import SCRIPTS
from tests.support.proxy import Proxy
from tests.support.redis_fixture import needs_redis_server
from tests.support.waiting import until
from tools.redis_server import PrivateRedis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core.settings import Settings

PATIENCE, LINKS = 60.0, 3
SOON = 10.0
"""How many seconds after its end a fault may be noticed by callers at most."""


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(redis_url) as proxy:
        yield proxy


def settings(url: str, connect_timeout: float) -> Settings:
    return replace(load_settings(url=url), connect_timeout=connect_timeout)


def served(url: str, services: int = 1, connect_timeout: float = PATIENCE) -> tuple[RpcServer, str]:
    """Return a server of services of its own, and the name of the last one."""
    server, name = RpcServer(settings=settings(url, connect_timeout)), ""

    async def echo(value: int) -> int:
        return value

    for _ in range(services):
        name = f"echo_{uuid.uuid4().hex}"
        server.load_services({name: register_call(name=name)(echo)})
    return server, name


async def answered(client: RpcClient, name: str) -> None:
    """Call until a call succeeds."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                assert await client.remote_call(name, (7,), timeout=SOON) == 7
            except (ConnectionLostError, NoRouteError):
                await asyncio.sleep(0)
            else:
                return


async def cut_twice(redis_url: str, step: bytes) -> None:
    """Cut the connection of a worker, and the next two at a step of their set-up."""
    async with Proxy(redis_url) as proxy:
        server, name = served(proxy.url)
        async with server.serving(), RpcClient(url=redis_url) as client:
            await answered(client, name)
            proxy.when_sent = [(step, proxy.cut)] * 2
            proxy.cut()
            await until(lambda: not proxy.when_sent)
            await asyncio.wait_for(answered(client, name), SOON)
            await until(lambda: bool(server.health()))
            await until(lambda: sum(not link.up.is_closing() for link in proxy.links) == LINKS)  # none is left behind


async def test_connections_that_are_cut_at_each_step_of_their_set_up_are_made_again(redis_url: str) -> None:
    steps = [b"HELLO", b"SUBSCRIBE", b"LOAD", b"XADD", b"PEXPIRE", b"XREAD"]
    steps += [SCRIPTS[script].digest for script in ("leave", "declare", "join", "settle", "maintain")]
    await asyncio.gather(*(cut_twice(redis_url, step) for step in steps))


@pytest.mark.parametrize("what", ["while it is used", "while it is set up"])
async def test_a_connection_that_falls_silent_is_replaced(redis_url: str, proxy: Proxy, what: str) -> None:
    server, name = served(f"{proxy.url}?lease=3", connect_timeout=2)
    async with server.serving(), RpcClient(url=redis_url) as client:
        await answered(client, name)
        if what == "while it is set up":
            proxy.when_sent = [(SCRIPTS["declare"].digest, proxy.freeze)]
            proxy.cut()
            await until(lambda: not proxy.when_sent)
        else:
            proxy.freeze()  # nothing is closed: the worker waits in a read
        links = len(proxy.links)
        await until(lambda: len(proxy.links) > links)
        assert not server.health()
        proxy.thaw()
        await asyncio.wait_for(answered(client, name), SOON)
        await until(lambda: bool(server.health()))


async def test_a_server_that_has_too_many_connections_says_so_and_is_not_stormed() -> None:
    needs_redis_server()
    with PrivateRedis("--maxclients", str(5 * LINKS)) as node:
        async with RpcClient(url=node.url) as first:
            holders = [RpcClient(url=node.url) for _ in range(4)]
            for holder in holders:
                await holder.connect()
            late = RpcClient(settings=settings(node.url, 1))
            with pytest.raises(ConnectionLostError, match=r"max number of clients reached.*gave up after"):
                await late.connect()
            waiting = [asyncio.create_task(RpcClient(url=node.url).connect()) for _ in range(20)]
            before, began = await rejected(first), time.monotonic()
            await asyncio.sleep(1.5)  # the rate of attempts can only be seen over a time
            attempts = (await rejected(first) - before) / len(waiting)
            assert attempts < LINKS * (5 + time.monotonic() - began), "each waits longer from attempt to attempt"
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            await holders.pop().close()
            await late.connect()
            await late.close()
            for holder in holders:
                await holder.close()


async def rejected(client: RpcClient) -> int:
    session = client._client.transport.session  # type: ignore[attr-defined]
    text = bytes(await session.commands.ask("INFO", "stats")).decode()
    return int(text.partition("rejected_connections:")[2].split()[0])


_COMMANDS = ("EVALSHA", "XREAD", "XTRIM", "PING")


async def commands_sent(proxy: Proxy, seconds: float, *commands: str) -> int:
    """Count the commands that clients send in this time; ``commands``: only these."""
    before = [len(link.sent) for link in proxy.links]
    await asyncio.sleep(seconds)
    sent = b"".join(bytes(link.sent[start:]) for link, start in zip(proxy.links, before, strict=True))
    return sum(sent.count(f"\r\n{command}\r\n".encode()) for command in commands or _COMMANDS)


async def test_idle_workers_and_clients_send_hardly_anything(redis_url: str) -> None:
    async with Proxy(redis_url, recording=True) as workers, Proxy(redis_url, recording=True) as clients:
        server, name = served(workers.url, services=10)
        async with server.serving(), RpcClient(url=clients.url) as client:
            await answered(client, name)
            by_worker, by_client = await asyncio.gather(commands_sent(workers, 3.2), commands_sent(clients, 3.2))
            pause = client._client.transport.session.pause  # type: ignore[attr-defined]
        assert by_worker <= 2 * 3.2
        assert by_client <= 2, "what follows its last reply"
        assert pause >= 2 * 10, "then it sends two: one for its lease, one to read on"


async def test_an_idle_client_need_not_ask_whether_its_link_for_channels_is_there(redis_url: str) -> None:
    async with Proxy(redis_url, recording=True) as proxy, RpcClient(url=f"{proxy.url}?lease=3") as client:
        assert await commands_sent(proxy, 4.2, "EVALSHA") >= 2, "its lease, every second"
        sent = b"".join(bytes(link.sent) for link in proxy.links)
        assert sent.count(b"\r\nPING\r\n") <= 2, "it has subscribed, and may have stood still once"
        assert client.health()
