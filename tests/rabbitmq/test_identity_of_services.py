"""Who may call a service: in child processes, synchronously, by a dead letter, and from other programs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aiormq
import pytest
from pamqp.commands import Basic
from yarl import URL

from rabibridge import AccessDeniedError, current_call, register_call
from rabibridge.sync import Client
from rabibridge_core.operations.letters import LetterFilter
from tests.rabbitmq.operators import add_letter, declare_dead_letters, operator
from tests.rabbitmq.support import ctl
from tests.rabbitmq.users import Users
from tests.support.waiting import soon, until
from tests.unit.process_functions import user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.rabbitmq.support import Stage
    from tools.broker import Broker

CALLER = (r"^amq\.gen.*$", "^rpc$", r"^(rpc|amq\.gen.*)$")


@pytest.fixture
async def users(rabbitmq: Broker, vhost_url: str) -> AsyncIterator[Users]:
    users = Users(rabbitmq, vhost_url)
    yield users
    await users.close()


def _name(url: str) -> str:
    return str(URL(url).user)


async def test_in_a_child_process_and_from_a_synchronous_client(stage: Stage, users: Users) -> None:
    alice, bob = [await users.add(*CALLER) for _ in range(2)]
    server = stage.new_server()
    server.add_service(user, name="who", executor="process", fetch_size=1, allow=(_name(alice),))
    await soon(server.connect())
    stage.start(server)

    def ask(url: str) -> str:
        with Client(url=url) as client:
            result: str = client.options(kind="any", timeout=60.0).remote_call("who")
            return result

    assert await asyncio.to_thread(ask, alice) == _name(alice)
    with pytest.raises(AccessDeniedError, match=f"the user '{_name(bob)}' may not call 'who'"):
        await asyncio.to_thread(ask, bob)


async def test_a_dead_letter_needs_an_operator_who_vouches(stage: Stage, raw: Any, vhost_url: str) -> None:
    """It may have been sent by anybody, and so must not run with the rights of whoever moves it back."""
    ran: list[tuple[int, str]] = []

    async def book(number: int) -> None:
        ran.append((number, current_call().user))

    name = stage.register(book, allow=(_name(vhost_url),))
    await stage.server(book)
    await declare_dead_letters(raw)
    for number in range(2):
        await add_letter(raw, number, name)
    async with operator(vhost_url) as letters:
        first, second = [letter.id for letter in (await letters.list()).letters]
        await letters.requeue(LetterFilter(ids=frozenset((first,))))
        await letters.requeue(LetterFilter(ids=frozenset((second,))), vouch=True)
    await until(lambda: bool(ran))
    assert ran == [(1, _name(vhost_url))]


async def test_a_program_that_names_no_user_gets_a_clear_error(stage: Stage) -> None:
    """As 0.1.2 and other clients do."""

    async def add(a: int, b: int) -> int:
        return a + b

    name = stage.register(add, allow=("gateway",))
    await stage.server(add)
    connection = await aiormq.connect(stage.url)
    channel = await connection.channel()
    queue = (await channel.queue_declare(exclusive=True)).queue
    asked = Basic.Properties(content_type="application/json", correlation_id="1", reply_to=queue)
    await channel.basic_publish(b"[[1, 2], {}]", exchange="rpc", routing_key=f"async_{name}", properties=asked)
    reply = await _reply(channel, str(queue))
    assert (reply.header.properties.headers or {})["rb-error"] == "denied"
    assert b"nobody vouches for the user of this call" in reply.body
    assert b"gateway" not in reply.body
    await connection.close()


async def _reply(channel: aiormq.abc.AbstractChannel, queue: str) -> aiormq.abc.DeliveredMessage:
    replies: asyncio.Queue[aiormq.abc.DeliveredMessage] = asyncio.Queue()

    async def received(message: aiormq.abc.DeliveredMessage) -> None:
        replies.put_nowait(message)

    await channel.basic_consume(queue, received, no_ack=True)
    return await soon(replies.get())


async def test_an_impersonator_may_be_anybody(stage: Stage, users: Users, rabbitmq: Broker) -> None:
    """RabbitMQ lets users with this tag send under any name: documented, and nothing that a worker could notice."""
    alice, bob = [await users.add(*CALLER) for _ in range(2)]
    ran: list[str] = []

    async def work() -> None:
        ran.append(current_call().user)

    name = stage.register(work, allow=(_name(alice),))
    await stage.server(work)
    await ctl(rabbitmq, "set_user_tags", _name(bob), "impersonator")
    connection = await aiormq.connect(bob)
    channel = await connection.channel()
    asked = Basic.Properties(content_type="application/json", user_id=_name(alice))
    await channel.basic_publish(b"[[], {}]", exchange="rpc", routing_key=f"async_{name}", properties=asked)
    await until(lambda: bool(ran))
    assert ran == [_name(alice)]
    await connection.close()


async def test_nobody_is_allowed_by_a_part_of_a_name(stage: Stage, users: Users) -> None:
    alice = await users.add(*CALLER)
    name = _name(alice)
    alike = (name.upper(), f"{name} ", f" {name}", name[:-1], f"{name},x", name.replace("u", "\u1d64"), "*", ".*", "")

    async def work() -> str:
        return current_call().user

    service = stage.register(work, allow=tuple(filter(None, alike)))
    await stage.server(work)
    client = await stage.client(url=alice)
    with pytest.raises(AccessDeniedError):
        await soon(client.remote_call(service, timeout=30))


def test_one_name_is_no_list_of_names() -> None:
    with pytest.raises(ValueError, match="it must be a tuple of names of users of the broker"):
        register_call(name="work", allow="gateway")(lambda: None)
