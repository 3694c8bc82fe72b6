"""The queues of the memory broker, at the transport seam."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rabibridge_core.errors import ConfigurationError
from rabibridge_core.transport import Reply, ServiceQueue
from rabibridge_testing import MemoryBroker
from rabibridge_testing.conformance import Inbox, Worker
from tests.unit.fake_support import QUEUE, connected, request


async def test_settling_twice_is_an_error() -> None:
    broker = MemoryBroker()
    transport, worker = await connected(broker), Worker()
    await transport.serve(QUEUE, worker)
    (await transport.open_caller(Inbox())).send(request())
    got = await worker.requests.get()
    got.reply(Reply(b"", None, None))
    with pytest.raises(RuntimeError, match="already settled"):
        got.discard()
    await transport.close()


async def test_what_expired_is_gone_without_anybody_asking_for_it() -> None:
    broker = MemoryBroker()
    transport = await connected(broker)
    await transport.declare(QUEUE)
    caller = await transport.open_caller(Inbox())
    caller.send(request(b"kept", timeout=600.0))
    queue = broker.queues[QUEUE.name]
    assert len(queue) == 1
    queue.purge()
    caller.send(request(b"expired", timeout=0.01))
    await asyncio.sleep(0.05)  # the time itself is what is tested
    assert len(queue) == 0
    await transport.close()


async def test_expired_requests_behind_a_live_one_take_their_place() -> None:
    broker, inbox = MemoryBroker(), Inbox()
    transport = await connected(broker)
    await transport.declare(ServiceQueue(QUEUE.name, QUEUE.routing_keys, queue_size=2, fetch_size=1))
    caller = await transport.open_caller(inbox)
    caller.send(request(b"live", timeout=600.0))
    caller.send(request(b"expired", timeout=0.01))
    await asyncio.sleep(0.05)  # the time itself is what is tested
    caller.send(request(b"refused"))
    assert (await inbox.refusals.get()).correlation_id == b"refused"
    await transport.close()


@pytest.mark.parametrize("how", ["close", "break", "reject"])
async def test_what_comes_back_goes_before_what_waits(how: str) -> None:
    broker, leaving, staying = MemoryBroker(), Worker(), Worker()
    transport, other = await connected(broker), await connected(broker)
    queue = ServiceQueue(QUEUE.name, QUEUE.routing_keys, queue_size=2, fetch_size=2)
    consumer = await transport.serve(queue, leaving)
    caller = await other.open_caller(Inbox())
    for number in range(4):
        caller.send(request(b"%d" % number))
    in_flight = [await leaving.requests.get() for _ in range(2)]
    if how == "close":
        await transport.close()
    elif how == "break":
        transport.abort(restore=False)
    else:
        await consumer.stop()
        for one in reversed(in_flight):
            one.reject(requeue=True)
    assert len(broker.queues[queue.name]) == 4
    await other.serve(ServiceQueue(queue.name, queue.routing_keys, queue_size=2, fetch_size=9), staying)
    got = [await staying.requests.get() for _ in range(4)]
    assert [one.correlation_id for one in got] == [b"0", b"1", b"2", b"3"]
    assert [one.redelivered for one in got] == [True, True, False, False]
    await transport.close()
    await other.close()


@pytest.mark.parametrize(("queue_type", "order"), [("classic", [b"0", b"1", b"2"]), ("quorum", [b"1", b"0", b"2"])])
async def test_where_what_comes_back_goes_among_what_came_back_before(queue_type: Any, order: list[bytes]) -> None:
    broker, leaving, staying = MemoryBroker(), Worker(), Worker()
    transport, other = await connected(broker), await connected(broker)
    queue = ServiceQueue(QUEUE.name, QUEUE.routing_keys, queue_size=None, fetch_size=2, queue_type=queue_type)
    consumer = await transport.serve(queue, leaving)
    caller = await other.open_caller(Inbox())
    for number in range(3):
        caller.send(request(b"%d" % number))
    in_flight = [await leaving.requests.get() for _ in range(2)]
    await consumer.stop()
    for one in reversed(in_flight):
        one.reject(requeue=True)
    await other.serve(queue, staying)
    got = [await staying.requests.get() for _ in range(2)]
    for one in got:
        one.reply(Reply(b"", None, None))
    assert [one.correlation_id for one in (*got, await staying.requests.get())] == order
    await transport.close()
    await other.close()


async def test_what_expired_at_the_head_does_not_count_behind_what_comes_back() -> None:
    broker, worker = MemoryBroker(), Worker()
    transport, other = await connected(broker), await connected(broker)
    await transport.serve(ServiceQueue(QUEUE.name, QUEUE.routing_keys, queue_size=None, fetch_size=1), worker)
    caller = await other.open_caller(Inbox())
    caller.send(request(b"comes back", timeout=600.0))
    caller.send(request(b"expires", timeout=0.01))
    await worker.requests.get()
    await asyncio.sleep(0.05)  # the time itself is what is tested
    transport.abort(restore=False)
    assert len(broker.queues[QUEUE.name]) == 1
    await transport.close()
    await other.close()


async def test_what_is_on_its_way_to_a_consumer_that_stops_never_arrives() -> None:
    broker, worker, other = MemoryBroker(), Worker(), Worker()
    transport = await connected(broker)
    consumer = await transport.serve(QUEUE, worker)
    (await transport.open_caller(Inbox())).send(request())
    await consumer.stop()
    await transport.serve(QUEUE, other)
    assert not (await other.requests.get()).redelivered
    assert worker.requests.empty()
    await transport.close()


async def test_a_request_in_flight_of_a_deleted_queue_goes_to_no_other_queue() -> None:
    broker, worker, inbox = MemoryBroker(), Worker(), Inbox()
    transport = await connected(broker)
    await transport.serve(QUEUE, worker)
    caller = await transport.open_caller(inbox)
    for number in range(4):
        caller.send(request(b"%d" % number))
    answered, rejected, *held = [await worker.requests.get() for _ in range(4)]
    caller.send(request(b"waits"))
    broker.delete_queue(QUEUE.name)
    await transport.declare(QUEUE)
    queue = broker.queues[QUEUE.name]
    assert len(queue) == queue.unsettled == 0
    answered.reply(Reply(b"", None, None))
    assert (await inbox.replies.get())[0] == b"0"
    rejected.reject(requeue=True)
    caller.send(request(b"new"))
    new = await worker.requests.get()
    assert (new.correlation_id, new.redelivered) == (b"new", False)
    assert queue.unsettled == 1
    await transport.close()
    assert len(queue) == 1
    assert (await worker.losses.get()).executed is None
    for one in held:
        one.discard()  # void


async def test_a_queue_asked_for_anew_while_the_connection_is_lost() -> None:
    broker, worker = MemoryBroker(), Worker()
    transport = await connected(broker)
    await transport.declare(QUEUE)
    broker.lose_connection(restore=False)
    larger = ServiceQueue(QUEUE.name, QUEUE.routing_keys, 5, 1, redeclare=True)
    consumer = await transport.serve(larger, worker)
    unwanted = await transport.serve(QUEUE, worker)
    await unwanted.stop()
    assert transport.consumers == 1
    broker.restore()
    await (await transport.open_caller(Inbox())).writable()
    assert consumer.live
    assert broker.queues[QUEUE.name].spec.queue_size == 5
    broker.delete_queue(QUEUE.name)
    broker.declare(ServiceQueue(QUEUE.name, QUEUE.routing_keys, 6, 1))
    await asyncio.sleep(0)
    assert isinstance(consumer.error, ConfigurationError)  # that it was asked for once is no reason to do it again
    await transport.close()
