"""What cannot be answered is kept for an operator, and its service goes on."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import commands as spec

from rabibridge import RemoteExecutionError
from rabibridge._transport.letter_shares import LetterShares
from rabibridge._transport.transport import RabbitMQTransport
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import Reply
from rabibridge_testing.conformance.harness import Bench, Inbox, Worker, request_to
from tests.rabbitmq.support import ctl, until_waiting, vhost_of, waiting_in
from tests.support.services import new_echo
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from rabibridge_core.transport import ServiceQueue
    from tests.rabbitmq.support import Stage
    from tests.rabbitmq.users import Users
    from tests.rabbitmq.workers import Workers
    from tools.broker import Broker

EMPTY = Reply(b"", None, None)


async def _served(bench: Bench, **limits: Any) -> tuple[Any, ServiceQueue, Worker]:
    queue, worker = bench.queue(**limits), Worker()
    transport = await bench.transport()
    await soon(transport.serve(queue, worker))
    return transport, queue, worker


async def _letter(raw: Any) -> Any:
    """Return the next dead letter, or ``None``."""
    letter = await soon(raw.basic_get("rpc.dead", no_ack=True))
    return None if letter.delivery_tag is None else letter


async def test_what_a_dead_letter_carries(bench: Bench, raw: Any, governed: Broker, vhost_url: str) -> None:
    _, queue, worker = await _served(bench)
    elsewhere = (await raw.queue_declare("", exclusive=True)).queue
    headers: dict[str, Any] = {
        "trace": "abc",
        "nested": {"a": [1, None]},
        "rb-deliveries": 4,
        "rb-dead-queue": "forged",
    }
    await raw.basic_publish(
        b"the body", exchange="rpc", routing_key=queue.routing_keys[0],
        properties=spec.Basic.Properties(
            headers={**headers, "BCC": [elsewhere]}, content_type="text/x-odd", content_encoding="none",
            correlation_id="7", reply_to="amq.gen-somewhere", expiration="600000", priority=3,
        ),
    )  # fmt: skip
    before = int(time.time() * 1000)
    (await worker.next()).dead_letter("because of a test \udcff" + "x" * 5000)
    await until_waiting(vhost_url, queue.name, 0)
    await until_waiting(vhost_url, "rpc.dead", 1)
    letter = await _letter(raw)
    properties = letter.header.properties
    assert letter.body == b"the body"
    assert (properties.content_type, properties.content_encoding) == ("text/x-odd", "none")
    assert (properties.correlation_id, properties.reply_to) == ("7", "amq.gen-somewhere")
    assert (properties.delivery_mode, properties.expiration) == (2, None)
    reason = properties.headers.pop("rb-dead-reason")
    assert reason.startswith("because of a test \\udcffxxx")
    assert len(reason) == 1024
    assert before <= properties.headers.pop("rb-dead-at") <= time.time() * 1000
    assert properties.headers == {
        "trace": "abc", "nested": {"a": [1, None]}, "rb-dead-queue": queue.name, "rb-dead-by": "bench",
    }  # fmt: skip
    assert (await soon(raw.basic_get(elsewhere, no_ack=True))).delivery_tag is None
    rows = await ctl(governed, "list_queues", "-p", vhost_of(vhost_url), "name", "durable", "arguments")
    (row,) = [row for row in rows if row[0] == "rpc.dead"]
    assert row[1:] == [
        "true",
        '[{"x-max-length-bytes",268435456},{"x-message-ttl",604800000},{"x-overflow","drop-head"}'
        ',{"x-queue-type","classic"}]',
    ]


async def test_the_caller_is_answered_and_only_then_is_the_request_gone(bench: Bench, vhost_url: str) -> None:
    _, queue, worker = await _served(bench, fetch_size=1)
    caller, inbox = await bench.caller()
    for correlation_id in (b"dead", b"next"):
        caller.send(request_to(queue, correlation_id))
    (await worker.next()).dead_letter("a reason", Reply(b"an error", "text/plain", None, {"rb-error": "dead"}))
    correlation_id, reply = await soon(inbox.replies.get())
    assert (correlation_id, reply.body, reply.headers) == (b"dead", b"an error", {"rb-error": "dead"})
    (await worker.next()).reply(EMPTY)
    assert await soon(waiting_in(vhost_url, "rpc.dead")) == 1


async def test_a_dead_letter_queue_with_other_limits_is_used_as_it_is(bench: Bench, raw: Any, vhost_url: str) -> None:
    await raw.queue_declare("rpc.dead", durable=True, arguments={"x-max-length": 2, "x-overflow": "drop-head"})
    _, queue, worker = await _served(bench)
    caller, inbox = await bench.caller()
    for number in range(5):
        caller.send(request_to(queue, b"%d" % number))
        (await worker.next()).dead_letter("a reason", EMPTY)
        await soon(inbox.replies.get())
    assert await soon(waiting_in(vhost_url, "rpc.dead")) == 2
    assert (await _letter(raw)).header.properties.correlation_id == "3"


async def test_a_dead_letter_queue_that_is_deleted_is_declared_anew(bench: Bench, raw: Any, vhost_url: str) -> None:
    _, queue, worker = await _served(bench, fetch_size=1)
    caller, inbox = await bench.caller()
    for number in range(3):
        caller.send(request_to(queue, b"%d" % number))
        (await worker.next()).dead_letter("a reason", EMPTY)
        await soon(inbox.replies.get())
        assert (await _letter(raw)).header.properties.correlation_id == str(number)
        await raw.queue_delete("rpc.dead")
    assert worker.requests.empty()


async def test_where_there_can_be_none_that_is_said_once_and_they_are_dropped(
    users: Users, vhost_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    url = await users.add("^(rpc|rpc_.*|amq.*)$", ".*", ".*")
    transport, queue, worker = RabbitMQTransport(load_settings(url=url), "poor"), Bench(_nothing).queue(), Worker()
    await soon(transport.connect())
    consumer = await soon(transport.serve(queue, worker))
    other = RabbitMQTransport(load_settings(url=vhost_url), "caller")
    await soon(other.connect())
    caller = await soon(other.open_caller(Inbox()))
    for number in range(20):
        caller.send(request_to(queue, b"%d" % number))
    for _ in range(20):
        (await worker.next()).dead_letter("a reason")
    await until(lambda: consumer.channel is not None and consumer.channel.unsettled == 0)
    (told,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "rpc.dead" in told.getMessage()
    assert "a reason" in told.getMessage()
    assert consumer.live
    await soon(transport.close())
    await until_waiting(vhost_url, queue.name, 0)
    await soon(other.close())


async def _nothing() -> Any:
    raise AssertionError("the bench only makes names")


async def test_of_a_body_too_large_its_beginning_is_kept(bench: Bench, raw: Any, vhost_url: str) -> None:
    queue, worker = bench.queue(redelivery_limit=3), Worker()
    transport = RabbitMQTransport(replace(load_settings(url=vhost_url), max_body=1024), "small")
    await soon(transport.connect())
    await soon(transport.serve(queue, worker))
    await raw.basic_publish(b"x" * 300_000, exchange="rpc", routing_key=queue.routing_keys[0])
    await worker.next()
    transport.abort()
    got = await worker.next()
    assert got.deliveries == 1  # handed over without a copy, which would not be whole
    got.dead_letter("too large")
    await until_waiting(vhost_url, "rpc.dead", 1)
    letter = await _letter(raw)
    assert letter.body == b"x" * 1025
    assert "only the first 1025 bytes" in letter.header.properties.headers["rb-dead-reason"]
    await soon(transport.close())


async def test_a_server_that_closes_waits_for_its_dead_letters(bench: Bench, vhost_url: str) -> None:
    transport, queue, worker = await _served(bench)
    caller, _ = await bench.caller()
    for number in range(10):
        caller.send(request_to(queue, b"%d" % number))
    for _ in range(10):
        (await worker.next()).dead_letter("a reason")
    await soon(transport.close())
    assert await soon(waiting_in(vhost_url, "rpc.dead")) == 10
    assert await soon(waiting_in(vhost_url, queue.name)) == 0


async def test_garbage_messages_end_there_and_their_service_goes_on(
    stage: Stage, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, "aiormq")
    name = await stage.serve(new_echo())
    client = await stage.client()
    count = int(os.environ.get("GARBAGE", "2000"))  # `make soak-transport` has more
    for start in range(0, count, 500):
        publishing = [
            raw.basic_publish(b"\xc1garbage %d" % number, exchange="rpc", routing_key=f"async_{name}")
            for number in range(start, start + 500)
        ]
        await soon(asyncio.gather(*publishing, client.remote_call(name, (start,))))
    assert await soon(client.remote_call(name, ("unharmed",))) == "unharmed"
    await until_waiting(stage.url, "rpc.dead", count)
    await until_waiting(stage.url, f"rpc_async_{name}", 0)


async def test_a_call_that_kills_its_workers_ends_there_once_and_its_caller_is_told(
    stage: Stage, workers: Workers, raw: Any
) -> None:
    worker = await workers.start()
    client = await stage.client()
    call = asyncio.create_task(client.remote_call(f"die_{workers.name}"))
    for _ in range(3):  # its redelivery_limit is 2
        assert await worker.ended() == 7
        worker = await workers.start()
    with pytest.raises(RemoteExecutionError, match="redelivery_limit=2"):
        await soon(call)
    await until_waiting(stage.url, "rpc.dead", 1)
    await until_waiting(stage.url, f"rpc_async_die_{workers.name}", 0)
    letter = await _letter(raw)
    assert letter.header.properties.headers["rb-dead-queue"] == f"rpc_async_die_{workers.name}"


async def test_one_sender_cannot_push_out_the_letters_of_others(
    bench: Bench, raw: Any, governed: Broker, vhost_url: str, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr("rabibridge._transport.consumer_supervisor.LetterShares", partial(LetterShares, share=10 * 513))
    _, queue, worker = await _served(bench)

    async def dead_letters(sender: str, count: int) -> None:
        for _ in range(count):
            await raw.basic_publish(
                b"x", exchange="rpc", routing_key=queue.routing_keys[0],
                properties=spec.Basic.Properties(correlation_id="7", reply_to=sender),
            )  # fmt: skip
        for _ in range(count):
            (await worker.next()).dead_letter("because of a test")

    await dead_letters("amq.gen-honest", 1)
    await until_waiting(vhost_url, "rpc.dead", 1)
    await dead_letters("amq.gen-flood", 100)
    await dead_letters("amq.gen-late", 1)
    await until_waiting(vhost_url, "rpc.dead", 12)  # the first, ten of the flood, and the last
    assert (await _letter(raw)).header.properties.reply_to == "amq.gen-honest"
    assert sum("share of dead letters" in line for line in caplog.messages) == 1
