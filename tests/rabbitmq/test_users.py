"""Whose call it is: idempotency keys belong to the user that RabbitMQ has checked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiormq
import pytest

from tests.rabbitmq.users import Users
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge import RMQClient
    from tests.rabbitmq.support import Stage
    from tools.broker import Broker


@pytest.fixture
async def users(rabbitmq: Broker, vhost_url: str) -> AsyncIterator[Users]:
    users = Users(rabbitmq, vhost_url)
    yield users
    await users.close()


async def _caller(users: Users, stage: Stage) -> RMQClient:
    return await stage.client(url=await users.add(r"^amq\.gen.*$", "^rpc$", r"^(rpc|amq\.gen.*)$"))


async def test_another_user_gets_no_answer_of_a_key_that_it_guesses(stage: Stage, users: Users) -> None:
    runs: list[str] = []

    async def balance(who: str) -> str:
        runs.append(who)
        return f"{who}, run {len(runs)}"

    name = await stage.serve(balance)
    alice, bob = await _caller(users, stage), await _caller(users, stage)
    same_user = await stage.client(url=str(alice.settings.endpoints[0]).replace("@", ":secret@"))

    async def ask(client: RMQClient, who: str) -> str:
        result: str = await soon(client.remote_call(name, (who,), idempotency_key="order-17", timeout=20))
        return result

    assert await ask(alice, "alice") == "alice, run 1"
    assert await ask(bob, "bob") == "bob, run 2"
    assert await ask(alice, "alice") == await ask(same_user, "alice") == "alice, run 1"
    assert len(runs) == 2


async def test_a_counted_copy_keeps_its_user(stage: Stage, users: Users) -> None:
    """A worker that was lost has made its calls come back as copies that the next worker publishes under its name."""
    started, gate = asyncio.Queue[str](), asyncio.Event()

    async def slow(who: str) -> str:
        started.put_nowait(who)
        await gate.wait()
        return who

    name = stage.register(slow)
    first = await stage.server(slow)
    alice, bob = await _caller(users, stage), await _caller(users, stage)
    calls = [
        asyncio.create_task(client.remote_call(name, (who,), idempotency_key="k", timeout=30))
        for client, who in ((alice, "alice"), (bob, "bob"))
    ]
    for _ in calls:
        await soon(started.get())
    first._transport.abort()  # type: ignore[attr-defined]  # it loses its connection, and gets the calls again
    assert {await soon(started.get()) for _ in calls} == {"alice", "bob"}
    again = asyncio.create_task(alice.remote_call(name, ("alice",), idempotency_key="k", timeout=30))
    with pytest.raises(TimeoutError):  # it waits for the execution of the copy
        await asyncio.wait_for(started.get(), 0.5)
    gate.set()
    assert await soon(asyncio.gather(*calls, again)) == ["alice", "bob", "alice"]


async def test_a_name_that_the_broker_does_not_know_the_user_by(stage: Stage) -> None:
    """As with OAuth 2.0, where the name in the URL may be anything."""
    runs = []

    async def work(number: int) -> int:
        runs.append(number)
        return number

    name = await stage.serve(work)
    client = await stage.client()
    session = client._transport._connection.session  # type: ignore[attr-defined]
    session.user_id = b"somebody else"
    assert await soon(client.remote_call(name, (1,), idempotent=True, timeout=20)) == 1  # sent again without a name
    assert await soon(client.remote_call(name, (2,), idempotent=True, timeout=20)) == 2


async def test_nobody_can_send_under_another_name(stage: Stage) -> None:
    connection = await aiormq.connect(stage.url)
    channel = await connection.channel()
    properties = aiormq.spec.Basic.Properties(user_id="alice")
    with pytest.raises(aiormq.exceptions.AMQPError):
        await channel.basic_publish(b"", exchange="", routing_key="nowhere", properties=properties)
    await connection.close()
