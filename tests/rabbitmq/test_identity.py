"""Every message of a caller names its user, as RabbitMQ has checked it, and only its user can end or feed a call."""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import aiormq
import pytest
from pamqp.commands import Basic
from yarl import URL

from rabibridge import current_call
from rabibridge_core.settings import load_settings
from tests.rabbitmq.users import Users
from tests.support.broadcasts import all_results
from tests.support.waiting import soon, until, until_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge import RMQClient
    from tests.rabbitmq.support import Stage
    from tools.broker import Broker

CALLER = (r"^amq\.gen.*$", "^rpc$", r"^(rpc|amq\.gen.*)$")


@pytest.fixture
async def users(rabbitmq: Broker, vhost_url: str) -> AsyncIterator[Users]:
    users = Users(rabbitmq, vhost_url)
    yield users
    await users.close()


async def test_every_request_of_every_shape_names_its_user(stage: Stage, users: Users) -> None:
    told: list[str] = []

    async def who(padding: str = "") -> str:
        told.append(current_call().user)
        return current_call().user

    def in_a_thread() -> str:
        return current_call().user

    async def items() -> AsyncIterator[str]:
        for _ in range(40):  # more than one window
            yield current_call().user

    async def uploaded(numbers: AsyncIterator[int]) -> tuple[str, int]:
        return current_call().user, len([number async for number in numbers])

    functions = (who, in_a_thread, items, uploaded)
    called, threaded, streamed, fed = (stage.register(function) for function in functions)
    await stage.server(*functions)
    url = await users.add(*CALLER)
    name = str(URL(url).user)
    client = (await stage.client(url=url)).options(timeout=20.0)
    assert await soon(client.remote_call(called)) == name
    assert await soon(client.remote_call(called, ("x" * 300_000,))) == name
    assert await soon(client.options(timeout=math.inf).remote_call(called)) == name
    assert await soon(client.options(idempotent=True).remote_call(called)) == name
    assert await soon(client.options(headers={"tenant": "a"}).remote_call(called)) == name
    assert await soon(client.options(kind="any").remote_call(threaded)) == name
    assert [item async for item in client.stream(streamed)] == [name] * 40
    assert await soon(client.call(fed, _numbers(100))) == [name, 100]
    assert list((await soon(all_results(client.broadcast(called)))).values()) == [name]
    told.clear()
    await soon(client.notify(called))
    await until(lambda: bool(told))
    assert told == [name]


async def _numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


async def test_a_client_that_does_not_identify_is_nobody(stage: Stage) -> None:
    async def who() -> str:
        return current_call().user

    name = await stage.serve(who)
    client = await stage.client(url=None, settings=replace(load_settings(url=stage.url), identify=False))
    assert await soon(client.remote_call(name, timeout=20)) == ""
    assert await soon(client.remote_call(name, idempotent=True, timeout=20)) == ""


class Forger:
    """A user who knows what no caller tells: reply queues and ids of the calls of others."""

    def __init__(self, connection: aiormq.abc.AbstractConnection, channel: aiormq.abc.AbstractChannel) -> None:
        self._connection = connection
        self._channel = channel

    @classmethod
    async def connect(cls, url: str) -> Forger:
        connection = await aiormq.connect(url)
        return cls(connection, await connection.channel())

    async def cancel(self, name: str, caller: str, call: str, user: str | None) -> None:
        await self.send(f"cancel:async_{name}", f"async_{name}".encode(), caller, call, user)

    async def send(self, key: str, body: bytes, caller: str, call: str, user: str | None, **headers: Any) -> None:
        properties = Basic.Properties(correlation_id=call, reply_to=caller, user_id=user, headers=headers or None)
        await self._channel.basic_publish(body, exchange="rpc", routing_key=key, properties=properties)

    async def close(self) -> None:
        await self._connection.close()


@pytest.mark.parametrize("keyed", [False, True], ids=["call", "keyed"])
async def test_another_user_cannot_cancel_a_call(stage: Stage, users: Users, keyed: bool) -> None:
    started: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
    gate = asyncio.Event()

    async def slow() -> str:
        started.put_nowait((current_call().caller, current_call().id))
        await gate.wait()
        return "done"

    async def other() -> None:
        started.put_nowait(("", ""))
        await asyncio.Event().wait()

    name, second = stage.register(slow), stage.register(other)
    await stage.server(slow, other)
    alice, bob = [await users.add(*CALLER) for _ in range(2)]
    client = await stage.client(url=alice)
    call = asyncio.create_task(client.remote_call(name, idempotent=keyed, timeout=60))
    caller, correlation_id = await soon(started.get())
    forger = await Forger.connect(bob)
    for user in (URL(bob).user, None):
        await soon(forger.cancel(name, caller, correlation_id, user))  # the broker has confirmed it
    await forger.close()
    await _cancelled(client, second, started)  # and this one comes behind it, to the same queue
    gate.set()
    assert await soon(call) == "done"


async def _cancelled(client: RMQClient, name: str, started: asyncio.Queue[tuple[str, str]]) -> None:
    call = asyncio.create_task(client.remote_call(name, timeout=60))
    await soon(started.get())
    call.cancel()
    await asyncio.wait([call])

    async def ended() -> bool:
        (service,) = await client.services(name)
        return service.counts.cancelled == 1

    await until_true(ended)


async def test_another_user_cannot_end_or_feed_a_stream(stage: Stage, users: Users) -> None:
    addresses: asyncio.Queue[tuple[str, str, str]] = asyncio.Queue()

    async def items() -> AsyncIterator[int]:
        call = current_call()
        addresses.put_nowait((call._request.address, call.caller, call.id))
        for number in range(100):
            yield number

    name = await stage.serve(items)
    alice, bob = [await users.add(*CALLER) for _ in range(2)]
    client = await stage.client(url=alice)
    forger = await Forger.connect(bob)
    async with aclosing(client.options(timeout=60.0).stream(name)) as stream:
        first = await soon(anext(stream))
        address, caller, correlation_id = await soon(addresses.get())
        for part in ("cancel", "credit"):
            for user in (URL(bob).user, None):
                forged = {"rb-part": part, "rb-index": 100}
                await soon(forger.send(address, b"", caller, correlation_id, user, **forged))
        assert [first, *[item async for item in stream]] == list(range(100))
    await forger.close()


async def test_a_caller_of_a_version_that_names_its_user_with_keys_only_can_cancel(stage: Stage, users: Users) -> None:
    started: asyncio.Queue[str] = asyncio.Queue()
    cancelled = asyncio.Event()

    async def slow() -> None:
        started.put_nowait(current_call().user)
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    name = await stage.serve(slow, idempotent=True)
    url = await users.add(*CALLER)
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    queue = (await channel.queue_declare(exclusive=True)).queue
    asked = Basic.Properties(
        content_type="application/json", correlation_id="1", reply_to=queue, user_id=URL(url).user,
        headers={"rb-key": "a"},
    )  # fmt: skip
    await channel.basic_publish(b"[[], {}]", exchange="rpc", routing_key=f"async_{name}", properties=asked)
    assert await soon(started.get()) == URL(url).user
    dropped = Basic.Properties(correlation_id="1", reply_to=queue)
    body = f"async_{name}".encode()
    await channel.basic_publish(body, exchange="rpc", routing_key=f"cancel:async_{name}", properties=dropped)
    await soon(cancelled.wait())
    await connection.close()
