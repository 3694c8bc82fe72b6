"""Users who lack a permission hear of it in so many words, connections stand, and a permission granted heals."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from rabibridge import ConfigurationError
from rabibridge._transport.transport import RabbitMQTransport
from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import ConnectionState, Reply
from rabibridge_testing.conformance.harness import Inbox, Worker, request_to
from tests.rabbitmq.support import ctl, until_waiting, vhost_of
from tests.support.services import new_echo
from tests.support.waiting import soon, until, until_true

if TYPE_CHECKING:
    from rabibridge_testing.conformance.harness import Bench
    from tests.rabbitmq.support import Stage
    from tests.rabbitmq.users import Users
    from tools.broker import Broker

_REPLIES = "^amq\\.gen.*$"


async def _connections(broker: Broker, url: str) -> set[str]:
    vhost = vhost_of(url)
    rows = await ctl(broker, "list_connections", "vhost", "pid", "channels")
    return {pid for name, pid, _ in rows if name == vhost}


async def _channels(broker: Broker, url: str) -> list[int]:
    rows = await ctl(broker, "list_connections", "vhost", "channels")
    return sorted(int(channels) for name, channels in rows if name == vhost_of(url))


@pytest.mark.parametrize("direct", [False, True], ids=["own queue", "direct reply-to"])
async def test_a_caller_who_may_not_publish(
    stage: Stage, users: Users, governed: Broker, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await stage.serve(new_echo())
    monkeypatch.setenv("RABIBRIDGE_DIRECT_REPLY", str(direct))
    url = await users.add(_REPLIES, _REPLIES, _REPLIES)
    client = await stage.client(url=url)
    connections, channels = await _connections(governed, stage.url), await _channels(governed, stage.url)
    for _ in range(5):
        calls = [client.remote_call(name, (number,)) for number in range(20)]
        for error in await soon(asyncio.gather(*calls, return_exceptions=True)):
            assert isinstance(error, ConfigurationError)
            for told in (URL(url).user, "'rpc'", "write", "rabbitmqctl set_permissions", vhost_of(url)):
                assert str(told) in str(error)
    assert client.pending == 0
    assert client.state is ConnectionState.READY

    await users.allow(url, _REPLIES, "^(rpc|amq\\.gen.*)$", _REPLIES)

    async def heals() -> bool:
        try:
            return bool(await client.remote_call(name, ("granted",), timeout=30) == "granted")
        except ConfigurationError:
            return False

    await until_true(heals)
    assert await _connections(governed, stage.url) == connections

    async def none_is_left_behind() -> bool:  # those for declarations may have been open before, and close soon
        left = await _channels(governed, stage.url)
        return all(now <= before for now, before in zip(left, channels, strict=True))

    await until_true(none_is_left_behind)
    queues = await ctl(governed, "list_queues", "-p", vhost_of(url), "name")
    replies = [queue for (queue,) in queues if queue.startswith("amq.gen")]
    assert len(replies) == (1 if direct else 2)  # with that for cancels; the old one for replies is gone


async def test_what_is_under_way_when_the_permission_is_missed_ends_with_that_error(
    bench: Bench, users: Users, vhost_url: str
) -> None:
    queue, worker, inbox = bench.queue(), Worker(), Inbox()
    await soon((await bench.transport()).serve(queue, worker))
    url = await users.add(_REPLIES, _REPLIES, _REPLIES)
    transport = RabbitMQTransport(load_settings(url=url), "poor")
    await soon(transport.connect())
    caller = await soon(transport.open_caller(inbox))
    for correlation_id in (b"1", b"2"):
        caller.send(request_to(queue, correlation_id))
    assert isinstance(await soon(inbox.losses.get()), ConfigurationError)
    assert inbox.unconfirmed == {b"1", b"2"}
    assert not caller.paused
    assert caller.why_paused == ""
    caller.cancel(queue.routing_keys[0], b"1")
    with pytest.raises(ConfigurationError, match="write"):
        caller.send(request_to(queue, b"3"))
    await soon(caller.writable())
    transport.abort()

    async def sent() -> bool:  # the next connection starts anew
        try:
            await caller.writable()
            caller.send(request_to(queue, b"4"))
        except ConfigurationError:
            return False
        return True

    await until_true(sent)
    assert isinstance(await soon(inbox.losses.get()), ConfigurationError)
    assert inbox.unconfirmed == {b"4"}
    await soon(transport.close())
    with pytest.raises(ConnectionLostError):
        await caller.writable()
    assert worker.requests.empty()


async def test_a_worker_who_may_no_longer_reply_stops_serving_and_says_why(
    bench: Bench, users: Users, vhost_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = await users.add(".*", ".*", ".*")
    transport, queue, worker = RabbitMQTransport(load_settings(url=url), "poor"), bench.queue(), Worker()
    await soon((await bench.transport()).declare(queue))
    await soon(transport.connect())
    consumer = await soon(transport.serve(queue, worker))
    await users.allow(url, ".*", "^(rpc.*|amq.gen.*)$", ".*")
    caller, inbox = await bench.caller()
    caller.send(request_to(queue, b"asked"))
    (await worker.next()).reply(Reply(b"", None, None))
    await soon(worker.losses.get())
    await until(lambda: consumer.error is not None)
    assert isinstance(consumer.error, ConfigurationError)
    for told in (URL(url).user, "'amq.default'", "write", "every reply", "rabbitmqctl set_permissions"):
        assert str(told) in str(consumer.error)
    assert [record.levelno for record in caplog.records if "amq.default" in record.getMessage()].count(
        logging.ERROR
    ) >= 1
    assert not consumer.live
    assert transport.state is ConnectionState.READY
    await until_waiting(vhost_url, queue.name, 1)  # for another worker
    await soon((await bench.transport()).serve(queue, other := Worker()))
    (await other.next()).reply(Reply(b"", None, None))
    assert (await soon(inbox.replies.get()))[0] == b"asked"
    await users.allow(url, ".*", ".*", ".*")
    await until(lambda: consumer.live)
    assert consumer.error is None
    await soon(transport.close())


async def test_why_a_caller_waits(bench: Bench) -> None:
    transport: Any = await bench.transport()
    caller, _ = await bench.caller(transport)
    assert (caller.paused, caller.why_paused) == (False, "")
    transport.abort("cut by the test")
    assert caller.paused
    assert caller.why_paused.startswith("there is no connection to the broker")
    await soon(caller.writable())
    assert caller.why_paused == ""
    await soon(transport.close())
    assert "is closed" in caller.why_paused
