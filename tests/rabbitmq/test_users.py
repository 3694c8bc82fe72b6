"""Whose call it is: idempotency keys belong to the user that RabbitMQ has checked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiormq
import pytest
from yarl import URL

from rabibridge import current_call
from tests.rabbitmq.users import Users
from tests.support.proxy import Proxy
from tests.support.waiting import soon, until

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

    alice, bob = await _caller(users, stage), await _caller(users, stage)
    name = stage.register(slow, allow=[client.settings.endpoints[0].username for client in (alice, bob)])
    first = await stage.server(slow)
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


async def test_a_name_that_the_broker_does_not_know_the_user_by(
    stage: Stage, users: Users, caplog: pytest.LogCaptureFixture
) -> None:
    """As with OAuth 2.0, where the name in the URL may be anything: the first call is sent again, without a name."""
    seen: list[tuple[int, str]] = []

    async def work(number: int) -> int:
        seen.append((number, current_call().user))
        return number

    name = await stage.serve(work)
    url = await users.add(r"^amq\.gen.*$", "^rpc$", r"^(rpc|amq\.gen.*)$")
    user = str(URL(url).user)
    async with Proxy(url) as proxy:
        proxy.replaced[f"\0{user[::-1]}\0".encode()] = f"\0{user}\0".encode()
        client = await stage.client(url=str(URL(proxy.url).with_user(user[::-1])))
        calls = [client.remote_call(name, (number,), timeout=20) for number in range(3)]
        assert await soon(asyncio.gather(*calls, client.notify(name, 3))) == [0, 1, 2, None]
        assert await soon(client.remote_call(name, (4,), timeout=20)) == 4
        await until(lambda: len(seen) == 5)
        assert sorted(seen) == [(number, "") for number in range(5)]
        assert caplog.text.count("the broker knows its user by another name") == 1
        await client.close()


async def test_nobody_can_send_under_another_name(stage: Stage) -> None:
    connection = await aiormq.connect(stage.url)
    channel = await connection.channel()
    properties = aiormq.spec.Basic.Properties(user_id="alice")
    with pytest.raises(aiormq.exceptions.AMQPError):
        await channel.basic_publish(b"", exchange="", routing_key="nowhere", properties=properties)
    await connection.close()
