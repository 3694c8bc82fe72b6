"""A channel that the broker closes, on the fake: what came on it comes again, and nothing else is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge import ConnectionLostError, RMQClient, RMQServer, current_call
from rabibridge_core.transport import ConnectionState, Reply, ServiceQueue
from rabibridge_testing import MemoryBroker
from rabibridge_testing.conformance import Inbox, Worker
from tests.support.waiting import soon, until
from tests.unit.fake_support import QUEUE, connected, request

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker

EMPTY = Reply(b"", None, None)
OTHER = ServiceQueue("rpc_async_other", ("async_other",), queue_size=None, fetch_size=8)


async def test_only_the_requests_of_the_channel_are_void() -> None:
    broker, inbox, worker, bystander = MemoryBroker(), Inbox(), Worker(), Worker()
    transport = await connected(broker)
    consumer = await transport.serve(QUEUE, worker)
    await transport.serve(OTHER, bystander)
    caller = await transport.open_caller(inbox)
    for name in (b"a", b"b"):
        caller.send(request(name))
    caller.send(request(b"c")._replace(routing_key="async_other"))
    accepted, held, beside = await worker.next(), await worker.next(), await bystander.next()
    accepted.accept()

    broker.lose_channel("work")
    assert "closed channel" in str(await soon(worker.losses.get()))
    assert (held.void, accepted.void, beside.void) == (True, False, False)
    assert bystander.losses.empty()
    assert transport.state is ConnectionState.READY
    again = await worker.next()
    assert (again.correlation_id, again.deliveries) == (b"b", 1)
    assert consumer.live
    for one in (accepted, beside, again):
        one.reply(EMPTY)
    assert sorted([(await soon(inbox.replies.get()))[0] for _ in range(3)]) == [b"a", b"b", b"c"]
    await transport.close()


async def test_what_was_sent_on_it_and_not_read_is_lost() -> None:
    """The broker reads nothing in an alarm: replies and acknowledgements of a channel are gone if it is closed then."""
    broker, inbox, worker = MemoryBroker(), Inbox(), Worker()
    transport, calling = await connected(broker), await connected(broker)
    await transport.serve(QUEUE, worker)
    caller = await calling.open_caller(inbox)
    for name in (b"answered", b"accepted", b"given back"):
        caller.send(request(name))
    answered, accepted, given_back = [await worker.next() for _ in range(3)]
    broker.block()
    answered.reply(EMPTY)
    accepted.accept()
    given_back.reject(requeue=True)
    broker.lose_channel("work")
    broker.unblock()
    again = [await worker.next() for _ in range(3)]
    assert [one.correlation_id for one in again] == [b"answered", b"accepted", b"given back"]
    assert [one.deliveries for one in again] == [1, 1, 1]
    for one in again:
        one.reply(EMPTY)
    assert [(await soon(inbox.replies.get()))[0] for _ in range(3)] == [b"answered", b"accepted", b"given back"]
    assert inbox.replies.empty()
    assert transport.consumers == 1
    await transport.close()
    await calling.close()


async def test_a_worker_that_has_stopped_receives_nothing_more() -> None:
    broker, inbox, worker, other = MemoryBroker(), Inbox(), Worker(), Worker()
    transport, staying = await connected(broker), await connected(broker)
    consumer = await transport.serve(QUEUE, worker)
    caller = await transport.open_caller(inbox)
    caller.send(request(b"held"))
    held = await worker.next()
    await consumer.stop()
    await staying.serve(QUEUE, other)
    broker.lose_channel("work")
    (await other.next()).reply(EMPTY)
    assert (await soon(inbox.replies.get()))[0] == b"held"
    assert (held.void, consumer.live, transport.consumers) == (True, False, 0)
    await transport.close()
    await staying.close()


async def test_a_call_runs_again_and_ends_once(fake_broker: FakeBroker) -> None:
    runs: list[bool] = []
    go_on = asyncio.Event()

    async def work() -> int:
        runs.append(current_call().redelivered)
        await go_on.wait()
        return len(runs)

    server = RMQServer()
    server.add_service(work, idempotent=True)
    async with server.serving(), RMQClient() as client:
        call = asyncio.ensure_future(client.remote_call("work"))
        await until(lambda: runs == [False])
        fake_broker.lose_channel("work")
        await until(lambda: runs == [False, True])
        assert client.health().ok
        go_on.set()
        assert await soon(call) == 2
        assert server.health().ok


async def test_a_client_gives_up_its_connection(fake_broker: FakeBroker) -> None:
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    server = RMQServer()
    server.add_service(work)
    async with server.serving(), RMQClient() as client:
        call = asyncio.ensure_future(client.remote_call("work"))
        await soon(started.wait())
        fake_broker.lose_channel(of="clients")
        with pytest.raises(ConnectionLostError, match="the broker closed channel"):
            await soon(call)
        assert server.state is ConnectionState.READY
        await until(lambda: client.state is ConnectionState.READY)


async def test_what_makes_no_sense_is_refused(fake_broker: FakeBroker) -> None:
    async def work() -> None: ...

    with pytest.raises(ValueError, match="no worker receives requests of 'work': served: nothing"):
        fake_broker.lose_channel("work")
    fake_broker.lose_channel()  # of all that there are
    server = RMQServer()
    server.add_service(work)
    async with server.serving():
        with pytest.raises(ValueError, match="no worker receives requests of 'wrok': did you mean 'work'"):
            fake_broker.lose_channel("wrok")
        with pytest.raises(ValueError, match="use 'workers' or 'clients'"):
            fake_broker.lose_channel(of="everybody")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="leave service out"):
            fake_broker.lose_channel("work", of="clients")
