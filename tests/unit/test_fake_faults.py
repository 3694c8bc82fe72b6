"""A memory broker that restarts, runs out of memory, or counts what came back from workers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import pytest

from rabibridge import RMQClient
from rabibridge_core.transport import Reply, ServiceQueue
from rabibridge_testing import DeadLetter, FakeBroker, MemoryBroker
from rabibridge_testing.conformance import Inbox, Worker
from tests.unit.fake_support import QUEUE, connected, request

if TYPE_CHECKING:
    from rabibridge_core.transport import IncomingRequest

EMPTY = Reply(b"", None, None)


async def in_flight(worker: Worker, count: int) -> list[IncomingRequest]:
    return [await worker.next() for _ in range(count)]


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
async def test_a_restart_keeps_what_is_persistent_or_in_a_quorum_queue(queue_type: Any) -> None:
    broker, worker, inbox = MemoryBroker(), Worker(), Inbox()
    serving, calling = await connected(broker), await connected(broker)
    queue = replace(QUEUE, fetch_size=2, queue_type=queue_type)
    await serving.serve(queue, worker)
    caller = await calling.open_caller(inbox)
    for number in range(4):
        caller.send(request(b"%d" % number)._replace(persistent=number % 2 == 1))
    void = await in_flight(worker, 2)
    broker.restart()
    assert caller.paused
    kept = [b"1", b"3"] if queue_type == "classic" else [b"0", b"1", b"2", b"3"]
    assert len(broker.queues[queue.name]) == len(kept)
    for _ in kept:
        got = await worker.next()
        assert got.correlation_id == kept.pop(0)
        assert got.deliveries == (got.correlation_id < b"2")
        got.discard()
    assert all(one.void for one in void)
    assert (await inbox.losses.get()).args
    assert worker.losses.qsize() == 1
    await serving.close()
    await calling.close()


async def test_a_restart_that_takes_its_time() -> None:
    broker, worker = MemoryBroker(), Worker()
    transport = await connected(broker)
    await transport.serve(QUEUE, worker)
    caller = await transport.open_caller(Inbox())
    broker.restart(restore=False)
    await asyncio.sleep(0)
    assert caller.paused
    assert broker.name in caller.why_paused
    broker.restore()
    await caller.writable()
    caller.send(request())
    (await worker.next()).discard()
    await transport.close()


async def test_a_broker_that_is_low_on_memory_lets_callers_wait() -> None:
    broker = MemoryBroker()
    transport = await connected(broker)
    caller = await transport.open_caller(Inbox())
    assert (caller.paused, caller.why_paused) == (False, "")
    await transport.declare(QUEUE)
    broker.block("low on disk")
    assert not caller.paused  # as on RabbitMQ, which tells only who sends
    caller.send(request(b"held"))
    await asyncio.sleep(0)
    assert caller.paused
    assert caller.why_paused == "the broker accepts no messages now: low on disk"
    assert (len(broker.queues[QUEUE.name]), caller.unconfirmed) == (0, {b"held"})
    waiting = [asyncio.ensure_future(caller.writable()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(one.done() for one in waiting)
    broker.unblock()
    await asyncio.gather(*waiting)
    assert not caller.paused
    assert len(broker.queues[QUEUE.name]) == 1
    await transport.close()


async def test_replies_and_acknowledgements_stand_still_during_an_alarm() -> None:
    broker, worker, inbox = MemoryBroker(), Worker(), Inbox()
    serving, calling = await connected(broker), await connected(broker)
    await serving.serve(ServiceQueue(QUEUE.name, QUEUE.routing_keys, queue_size=None, fetch_size=1), worker)
    caller = await calling.open_caller(inbox)
    caller.send(request(b"first"))
    caller.send(request(b"second"))
    got = await worker.requests.get()
    broker.block()
    got.reply(Reply(b"", None, None))
    for _ in range(5):
        await asyncio.sleep(0)
    assert inbox.replies.empty()
    assert worker.requests.empty()
    broker.unblock()
    assert (await inbox.replies.get())[0] == b"first"
    assert (await worker.requests.get()).correlation_id == b"second"
    await serving.close()
    await calling.close()


async def test_a_queue_that_is_deleted_during_an_alarm_is_declared_again_after_it() -> None:
    broker, worker = MemoryBroker(), Worker()
    transport = await connected(broker)
    consumer = await transport.serve(QUEUE, worker)
    (await transport.open_caller(Inbox())).send(request())
    got = await worker.requests.get()
    broker.block()
    got.reply(Reply(b"", None, None))  # the first message: nothing that follows is read
    broker.delete_queue(QUEUE.name)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not consumer.live
    assert QUEUE.name not in broker.queues
    broker.unblock()
    assert consumer.live
    assert broker.queues[QUEUE.name].consumers == 1
    await transport.close()


async def test_dead_letters_are_listed() -> None:
    broker, worker, inbox = MemoryBroker(), Worker(), Inbox()
    transport = await connected(broker)
    await transport.serve(QUEUE, worker)
    sent = request(b"dead")
    (await transport.open_caller(inbox)).send(sent)
    (await worker.next()).reject(requeue=True)
    dead = await worker.next()
    dead.dead_letter("it came twice", EMPTY)
    assert broker.dead_letters == [DeadLetter("work", QUEUE.name, sent, "it came twice", 1)]
    assert (await inbox.replies.get())[0] == b"dead"
    assert broker.queues[QUEUE.name].unsettled == 0
    with pytest.raises(RuntimeError, match="already settled"):
        dead.discard()
    await transport.close()


async def test_accepting_has_its_rules() -> None:
    broker, worker = MemoryBroker(), Worker()
    transport = await connected(broker)
    consumer = await transport.serve(QUEUE, worker)
    caller = await transport.open_caller(Inbox())
    for number in range(3):
        caller.send(request(b"%d" % number))
    accepted, settled, left = await in_flight(worker, 3)
    accepted.accept()
    with pytest.raises(RuntimeError, match="already accepted"):
        accepted.accept()
    with pytest.raises(RuntimeError, match="cannot be rejected"):
        accepted.reject(requeue=True)
    settled.discard()
    with pytest.raises(RuntimeError, match="already settled"):
        settled.accept()
    left.discard()
    await consumer.stop()
    assert transport.consumers == 1  # there is one to answer yet
    accepted.reply(EMPTY)
    with pytest.raises(RuntimeError, match="already settled"):
        accepted.reply(EMPTY)
    assert transport.consumers == 0
    await transport.close()


async def test_an_answer_to_what_was_accepted_needs_a_connection() -> None:
    broker, worker, inbox = MemoryBroker(), Worker(), Inbox()
    transport, calling = await connected(broker), await connected(broker)
    consumer = await transport.serve(QUEUE, worker)
    caller = await calling.open_caller(inbox)
    for correlation_id in (b"lost", b"answered"):
        caller.send(request(correlation_id))
    lost, answered = await in_flight(worker, 2)
    lost.accept()
    answered.accept()
    await consumer.stop()
    transport.abort()
    lost.reply(EMPTY)
    await (await transport.open_caller(Inbox())).writable()
    assert transport.consumers == 1
    caller.cancel("async_work", b"answered")
    assert await worker.cancels.get() == (answered.caller, b"answered")
    answered.reply(EMPTY)
    assert (await inbox.replies.get())[0] == b"answered"
    assert inbox.replies.empty()
    assert transport.consumers == 0
    await transport.close()
    await calling.close()


async def test_a_transport_that_closes_tells_of_what_was_accepted() -> None:
    broker, worker, inbox = MemoryBroker(), Worker(), Inbox()
    transport, calling = await connected(broker), await connected(broker)
    await transport.serve(QUEUE, worker)
    (await calling.open_caller(inbox)).send(request())
    got = await worker.next()
    got.accept()
    await transport.close()
    assert worker.losses.qsize() == 1
    assert got.void
    got.reply(EMPTY)
    got.probe()
    await asyncio.sleep(0)
    assert inbox.replies.empty()
    assert len(broker.queues[QUEUE.name]) == 0
    await calling.close()


async def test_a_request_on_its_way_is_not_confirmed() -> None:
    broker, inbox = MemoryBroker(), Inbox()
    transport = await connected(broker)
    await transport.declare(QUEUE)
    caller = await transport.open_caller(inbox)
    caller.send(request(b"confirmed"))
    with broker.delay(30.0):
        caller.send(request(b"on its way"))
    caller.send(request(b"refused")._replace(routing_key="nowhere"))
    await inbox.refusals.get()
    caller.send(request(b"too late to hear"))
    transport.abort()
    await inbox.losses.get()
    assert inbox.unconfirmed == {b"on its way", b"too late to hear"}
    await transport.close()


@pytest.mark.parametrize("kind", ["request", "reply"])
async def test_a_call_is_overtaken_by_the_next_one(fake_broker: FakeBroker, kind: Literal["request", "reply"]) -> None:
    ended: list[int] = []

    async def call(client: RMQClient, number: int) -> None:
        ended.append(await client.call("echo", number))

    fake_broker.stub("echo", side_effect=lambda number: number)
    async with RMQClient() as client, asyncio.TaskGroup() as calls:
        fake_broker.delay(0.05, "echo", kind=kind, times=1)
        calls.create_task(call(client, 1))
        calls.create_task(call(client, 2))
    assert ended == [2, 1]
    assert [one.args for one in fake_broker.calls_of("echo")] == [(1,), (2,)]
