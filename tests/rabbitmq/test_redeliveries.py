"""Requests that come again are counted, whatever the type of their queue, and whatever is in the way."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import commands as spec

from rabibridge_core.transport import ConnectionState, Reply
from rabibridge_testing.conformance.harness import Worker, request_to
from tests.rabbitmq.support import until_waiting, waiting_in
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from rabibridge._transport.transport import RabbitMQTransport
    from rabibridge_core.transport import IncomingRequest, ServiceQueue
    from rabibridge_testing.conformance.harness import Bench

EMPTY = Reply(b"", None, None)


async def _again(transport: RabbitMQTransport, worker: Worker) -> IncomingRequest:
    """Lose the connection, and return the next request on the next one."""
    await until(lambda: transport.state is ConnectionState.READY)
    transport.abort()
    await soon(worker.losses.get())
    return await worker.next()


async def _served(bench: Bench, **limits: Any) -> tuple[RabbitMQTransport, ServiceQueue, Worker]:
    queue, worker = bench.queue(**{"redelivery_limit": 5, **limits}), Worker()
    transport: Any = await bench.transport()
    await soon(transport.serve(queue, worker))
    return transport, queue, worker


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
@pytest.mark.parametrize("fetch_size", [1, 16])
async def test_each_worker_that_dies_counts_and_the_request_is_there_once(
    bench: Bench, vhost_url: str, queue_type: str, fetch_size: int
) -> None:
    transport, queue, worker = await _served(bench, queue_type=queue_type, fetch_size=fetch_size)
    caller, inbox = await bench.caller()
    caller.send(request_to(queue, b"poison", timeout=600.0))
    got = await worker.next()
    for count in range(1, 8):
        got = await _again(transport, worker)
        assert got.deliveries == count
    got.reply(EMPTY)
    assert (await soon(inbox.replies.get()))[0] == b"poison"
    assert worker.requests.empty()
    await until_waiting(vhost_url, queue.name, 0)


async def test_many_at_once_are_each_counted_and_there_once(bench: Bench, vhost_url: str) -> None:
    transport, queue, worker = await _served(bench, fetch_size=50)
    caller, inbox = await bench.caller()
    for number in range(200):
        caller.send(request_to(queue, b"%d" % number, b"%d" % number))
    for count in range(1, 4):
        for _ in range(50):
            await worker.next()
        got = await _again(transport, worker)
        assert got.deliveries <= count
        worker.requests.put_nowait(got)
    answered: dict[bytes, int] = {}
    while len(answered) < 200:
        got = await worker.next()
        if not got.void:  # what was in hand when the connection went
            assert got.body == got.correlation_id
            answered[bytes(got.correlation_id)] = answered.get(bytes(got.correlation_id), 0) + 1
            got.reply(EMPTY)
    assert set(answered.values()) == {1}
    assert {(await soon(inbox.replies.get()))[0] for _ in range(200)} == answered.keys()
    await until_waiting(vhost_url, queue.name, 0)


async def test_a_counted_copy_is_the_request_but_for_its_count(bench: Bench, raw: Any) -> None:
    transport, queue, worker = await _served(bench)
    elsewhere = await raw.queue_declare("", exclusive=True)
    deadline = int(time.time() * 1000) + 600_000
    headers: dict[str, Any] = {
        "rb-timeout": 600_000,
        "rb-deadline": deadline,
        "trace": "abc",
        "nested": {"a": [1, None]},
    }
    await raw.queue_bind(elsewhere.queue, "rpc", elsewhere.queue)
    properties: dict[str, Any] = {
        "content_type": "text/x-odd", "content_encoding": "none", "delivery_mode": 2, "priority": 3,
        "correlation_id": "7", "reply_to": "amq.gen-somewhere", "message_id": "m", "app_id": "a", "user_id": "guest",
        "message_type": "t", "timestamp": datetime(2024, 5, 6, tzinfo=UTC),
    }  # fmt: skip
    await raw.basic_publish(
        b"body", exchange="rpc", routing_key=queue.routing_keys[0],
        properties=spec.Basic.Properties(
            headers={**headers, "CC": [elsewhere.queue]}, expiration="600000", **properties
        ),
    )  # fmt: skip
    assert (await soon(raw.basic_get(elsewhere.queue, no_ack=True))).body == b"body"
    await worker.next()
    got = await _again(transport, worker)
    got.reject(requeue=True)
    got = await worker.next()
    assert got.deliveries == 2
    await soon(transport.close())
    copy = await soon(raw.basic_get(queue.name, no_ack=True))
    read = copy.header.properties
    assert copy.body == b"body"
    assert {name: getattr(read, name) for name in properties} == properties  # its user is that of the worker
    assert read.headers == {**headers, "rb-deliveries": 2, "rb-user": "guest"}
    assert 590_000 <= int(read.expiration) <= 600_000
    assert (await soon(raw.basic_get(elsewhere.queue, no_ack=True))).delivery_tag is None


async def test_what_the_full_queue_does_not_take_is_handed_over_with_its_count(bench: Bench, vhost_url: str) -> None:
    transport, queue, worker = await _served(bench, queue_size=1, fetch_size=1)
    caller, inbox = await bench.caller()
    caller.send(request_to(queue, b"first"))
    await worker.next()
    caller.send(request_to(queue, b"second"))
    await until_waiting(vhost_url, queue.name, 1)
    got = await _again(transport, worker)
    assert (got.correlation_id, got.deliveries, got.redelivered) == (b"first", 1, True)
    got.reply(EMPTY)
    got = await worker.next()
    assert (got.correlation_id, got.deliveries, got.redelivered) == (b"second", 0, False)
    got.reply(EMPTY)
    assert [(await soon(inbox.replies.get()))[0] for _ in range(2)] == [b"first", b"second"]


async def test_what_is_too_late_for_a_copy_is_handed_over(bench: Bench, raw: Any) -> None:
    transport, queue, worker = await _served(bench)
    headers: dict[str, Any] = {"rb-deadline": int(time.time() * 1000) - 5000}
    await raw.basic_publish(
        b"", exchange="rpc", routing_key=queue.routing_keys[0], properties=spec.Basic.Properties(headers=headers)
    )
    assert (await worker.next()).deliveries == 0
    for _ in range(2):
        assert (await _again(transport, worker)).deliveries == 1


async def test_where_nothing_is_to_be_counted_nothing_is_copied(bench: Bench) -> None:
    transport, queue, worker = await _served(bench, redelivery_limit=None)
    caller, _ = await bench.caller()
    caller.send(request_to(queue, b"once", timeout=600.0))
    assert not (await worker.next()).redelivered
    for _ in range(3):
        got = await _again(transport, worker)
        assert (got.deliveries, got.redelivered) == (1, True)
        assert "rb-deliveries" not in got.headers


async def test_a_consumer_that_is_stopped_hands_over_no_copy(bench: Bench, vhost_url: str) -> None:
    queue, worker = bench.queue(redelivery_limit=5), Worker()
    transport: Any = await bench.transport()
    consumer = await soon(transport.serve(queue, worker))
    caller, _ = await bench.caller()
    for number in range(20):
        caller.send(request_to(queue, b"%d" % number))
    for _ in range(16):
        await worker.next()
    transport.abort()
    await soon(worker.losses.get())
    await until(lambda: consumer.live)
    await soon(consumer.stop())
    handed_over = worker.requests.qsize()
    while not worker.requests.empty():
        (await worker.next()).reject(requeue=True)
    await soon(transport.close())
    assert worker.requests.empty()
    assert handed_over <= 16
    await until_waiting(vhost_url, queue.name, 20)


@pytest.mark.parametrize("count", [-1, 0, "many", True, 2**62, None, [1]])
async def test_a_count_of_a_foreign_program_is_no_danger(bench: Bench, raw: Any, vhost_url: str, count: Any) -> None:
    transport, queue, worker = await _served(bench)
    await raw.basic_publish(
        b"body", exchange="rpc", routing_key=queue.routing_keys[0],
        properties=spec.Basic.Properties(headers={"rb-deliveries": count, "x-delivery-count": "x"}),
    )  # fmt: skip
    first = await worker.next()
    again = await _again(transport, worker)
    assert again.deliveries == min(first.deliveries + 1, 2**31)
    again.discard()
    assert await soon(waiting_in(vhost_url, queue.name)) == 0


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
async def test_the_counts_that_a_sender_writes_are_ignored(bench: Bench, raw: Any, queue_type: str) -> None:
    transport, queue, worker = await _served(bench, queue_type=queue_type)
    headers: dict[str, Any] = {"rb-deliveries": 50, "x-delivery-count": 60, "x-acquired-count": 70}
    await raw.basic_publish(
        b"", exchange="rpc", routing_key=queue.routing_keys[0], properties=spec.Basic.Properties(headers=headers)
    )
    got = await worker.next()
    assert (got.deliveries, got.redelivered) == (0, False)
    for count in (1, 2):
        got = await _again(transport, worker)
        assert (got.deliveries, got.redelivered) == (count, True)
