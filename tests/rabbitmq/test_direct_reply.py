"""Replies by direct reply-to: no queue, and the least privilege that a caller can have."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from rabibridge import NoRouteError, RemoteExecutionError
from tests.rabbitmq.support import ctl, until_call_gives, vhost_of
from tests.support.proxy import Proxy
from tests.support.waiting import soon, until, until_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from rabibridge import RMQServer
    from tests.rabbitmq.support import Stage
    from tools.broker import Broker


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_DIRECT_REPLY", "true")


async def echo(value: object) -> object:
    if value == "bad":
        raise ValueError("bad value")
    return value


async def test_results_errors_and_refusals_come_as_ever_and_after_a_lost_connection_too(stage: Stage) -> None:
    name = await stage.serve(echo)
    client = await stage.client()
    assert await soon(client.remote_call(name, (1,))) == 1
    assert await soon(client.remote_call(name, (b"x" * 300_000,))) == b"x" * 300_000
    with pytest.raises(RemoteExecutionError, match="bad value"):
        await soon(client.remote_call(name, ("bad",)))
    with pytest.raises(NoRouteError):
        await soon(client.remote_call("nobody_offers_this"))
    calls = [client.remote_call(name, (number,)) for number in range(500)]
    assert await soon(asyncio.gather(*calls)) == list(range(500))
    client._transport.abort()  # type: ignore[attr-defined]
    await until_call_gives(client, name, "again", "again")
    assert client.pending == client.stray_replies == 0


async def test_the_first_replies_all_arrive_however_many_there_are(stage: Stage) -> None:
    """Those to a node that has taken none yet, and those of a size that the broker has not accepted yet."""
    name = await stage.serve(echo, fetch_size=400)
    client = await stage.client()
    assert await soon(asyncio.gather(*(client.remote_call(name, (number,)) for number in range(400)))) == list(
        range(400)
    )
    large = await soon(asyncio.gather(*(client.remote_call(name, (b"x" * 500_000,)) for _ in range(150))))
    assert {len(each) for each in large} == {500_000}


@pytest.fixture
async def proxy(stage: Stage) -> AsyncIterator[Proxy]:
    async with Proxy(stage.url) as proxy:
        yield proxy


async def _work_without_replies(
    stage: Stage, proxy: Proxy
) -> tuple[Callable[[int], Coroutine[Any, Any, int]], asyncio.Queue[int], RMQServer]:
    """Serve a function, and refuse the connection that the first reply is sent on; return it, its calls, the worker."""
    ran = asyncio.Queue[int]()

    async def work(value: int) -> int:
        ran.put_nowait(value)
        return value

    stage.register(work)
    server = await stage.server(work, url=proxy.url)
    await soon(server.wait_serving())
    proxy.refusing = True
    return work, ran, server


async def test_a_reply_waits_until_the_connection_for_the_first_one_can_be_opened(stage: Stage, proxy: Proxy) -> None:
    """It is sent apart, since RabbitMQ before 4.2 may close the connection for it."""
    client = await stage.client()
    work, ran, server = await _work_without_replies(stage, proxy)
    call = asyncio.create_task(client.call(work, 1))
    assert await soon(ran.get()) == 1
    await until(lambda: proxy.refused > 1 or call.done())  # later versions need no other connection
    proxy.refusing = False
    assert await soon(call) == 1
    await soon(server.close())


@pytest.mark.parametrize("end", ["its connection is lost", "it is closed"])
async def test_another_worker_answers_if_the_first_reply_cannot_be_sent(stage: Stage, proxy: Proxy, end: str) -> None:
    """A request keeps its place in the queue until the reply is sent."""
    client = await stage.client()
    work, ran, server = await _work_without_replies(stage, proxy)
    calls = [asyncio.create_task(client.call(work, 1))]
    assert await soon(ran.get()) == 1
    await until(lambda: proxy.refused > 1 or calls[0].done())
    calls.append(asyncio.create_task(client.call(work, 2)))
    assert await soon(ran.get()) == 2
    await stage.server(work)
    if end == "it is closed":
        await soon(server.close())
    else:
        proxy.cut()
    assert await soon(asyncio.gather(*calls)) == [1, 2]
    proxy.refusing = False


async def _has_queues(broker: Broker, vhost: str, count: int) -> bool:
    return len(await ctl(broker, "list_queues", "-p", vhost, "name")) == count


async def test_a_caller_who_may_only_write_to_the_exchange(
    stage: Stage, governed: Broker, unique_name: Callable[[str], str]
) -> None:
    name = await stage.serve(echo)
    user, vhost = unique_name("caller"), vhost_of(stage.url)
    await until_true(lambda: _has_queues(governed, vhost, 2))  # the service's, and the worker's own for cancelled calls
    before = await ctl(governed, "list_queues", "-p", vhost, "name")
    await ctl(governed, "add_user", user, "secret")
    await ctl(governed, "set_permissions", "-p", vhost, user, "^$", "^rpc$", "^$")
    try:
        client = await stage.client(url=str(URL(stage.url).with_user(user).with_password("secret")))
        assert await soon(client.remote_call(name, ("hello",))) == "hello"
        assert await ctl(governed, "list_queues", "-p", vhost, "name") == before
        await soon(client.close())
    finally:
        await ctl(governed, "delete_user", user)
