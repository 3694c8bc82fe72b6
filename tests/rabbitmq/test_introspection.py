"""Control requests on a real broker: what askers leave behind, and which permissions they need."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from rabibridge.sync import Client
from tests.rabbitmq.support import ctl, vhost_of
from tests.support.services import new_echo
from tests.support.waiting import PATIENCE, soon, until, until_true

if TYPE_CHECKING:
    import pytest

    from tests.rabbitmq.support import Stage
    from tests.rabbitmq.users import Users
    from tools.broker import Broker

# Larger with `make soak-control`.
_ASKERS, _AT_A_TIME, _QUESTIONS = int(os.environ.get("CONTROL_ASKERS", "10")), 10, 20
_PINGS = int(os.environ.get("CONTROL_PINGS", "40"))


async def _names(broker: Broker, stage: Stage, what: str, *columns: str) -> list[list[str]]:
    return sorted(await ctl(broker, what, "-p", vhost_of(stage.url), *columns))


async def test_askers_that_are_cut_off_leave_nothing_and_harm_nobody(stage: Stage, governed: Broker) -> None:
    name = await stage.serve(new_echo())
    client = await stage.client()
    assert len(await client.ping(timeout=PATIENCE)) == 1
    queues = await _names(governed, stage, "list_queues", "name")
    bindings = await _names(governed, stage, "list_bindings", "source_name", "routing_key", "destination_name")
    for _ in range(0, _ASKERS, _AT_A_TIME):
        askers: list[Any] = [await stage.client() for _ in range(_AT_A_TIME)]
        asked = [asyncio.ensure_future(asker.workers()) for asker in askers for _ in range(_QUESTIONS)]
        await asyncio.sleep(0)
        for asker in askers:
            asker._transport.abort()
            await soon(asker.close())
        await soon(asyncio.gather(*asked, return_exceptions=True))

    async def as_before() -> bool:
        return await _names(governed, stage, "list_queues", "name") == queues

    await until_true(as_before)
    assert await _names(governed, stage, "list_bindings", "source_name", "routing_key", "destination_name") == bindings
    assert await soon(client.remote_call(name, (1,))) == 1
    assert len(await client.ping(timeout=PATIENCE)) == 1
    assert client.pending == 0


async def test_every_ping_is_answered_whatever_happened_before(stage: Stage, governed: Broker) -> None:
    function = new_echo()
    name = stage.register(function)
    server: Any = await stage.server(function)
    client: Any = await stage.client()
    await until(lambda: bool(server.health()))
    for number in range(1, _PINGS + 1):
        assert len(await client.ping(timeout=PATIENCE)) == 1, number
        if number % 10:
            continue
        match number // 10 % 4:
            case 0:
                client._transport.abort()  # it connects again
            case 1:
                connection = server._transport._connection
                before = connection.session
                server._transport.abort()
                await until(lambda of=connection, before=before: of.session not in (None, before))  # type: ignore[misc]
            case 2:
                await ctl(governed, "delete_queue", "-p", vhost_of(stage.url), f"rpc_async_{name}")
            case 3:  # a worker that restarts: who has heard of the one before would wait for its answer
                await soon(server.close())
                server = await stage.server(function)
                client = await stage.client()
        await until(lambda of=server: bool(of.health()))  # type: ignore[misc]


async def test_who_may_call_may_ask_and_needs_nothing_else(
    stage: Stage, users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await stage.serve(new_echo())
    monkeypatch.setenv("RABIBRIDGE_DIRECT_REPLY", "true")
    client = await stage.client(url=await users.add("^$", "^rpc$", "^$"))
    assert await soon(client.remote_call(name, (1,))) == 1
    assert len(await client.ping(timeout=PATIENCE)) == 1
    found = await client.services(name, timeout=PATIENCE)
    assert [(service.name, service.consumers, service.silent) for service in found] == [(name, 1, 0)]


async def test_a_server_that_may_only_serve_answers(stage: Stage, users: Users) -> None:
    await stage.serve(new_echo())  # has declared the exchanges
    url = await users.add("^(rpc.*|amq\\.gen.*)$", "^(rpc.*|amq\\.gen.*|amq\\.default)$", "^(rpc.*|amq\\.gen.*)$")
    stage.register(echo := new_echo())
    server = await stage.server(echo, url=url)
    client = await stage.client()

    async def answered() -> bool:
        return [pong.worker for pong in await client.ping(server.name, timeout=5)] == [server.name]

    await until_true(answered)


async def test_a_synchronous_client_asks_too(stage: Stage) -> None:
    name = await stage.serve(new_echo())

    def ask() -> None:
        with Client(url=stage.url) as client:
            (pong,) = client.ping(timeout=PATIENCE)
            (worker,) = client.workers(timeout=PATIENCE)
            assert (worker.name, worker.id) == (pong.worker, pong.id)
            assert [service.name for service in client.services(name, timeout=PATIENCE)] == [name]

    await soon(asyncio.to_thread(ask))
