"""The queue through which a worker gets credit and uploads: who has one, who may send to it, and how it comes back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import ConfigurationError
from rabibridge._transport.stream_queue import StreamQueue
from rabibridge._transport.transport import RabbitMQTransport
from rabibridge.errors import NoRouteError, QueueFullError
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import Reply
from rabibridge_testing.conformance.harness import Inbox, Worker, request_to
from rabibridge_testing.conformance.parts import ask, bodies, feed, sent, serve
from tests.rabbitmq.support import ctl, vhost_of
from tests.support.waiting import soon, until, until_true

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel

    from rabibridge_core.transport import Transport
    from rabibridge_testing.conformance.harness import Bench
    from tests.rabbitmq.users import Users
    from tools.broker import Broker


async def _stream_queues(broker: Broker, url: str) -> list[list[str]]:
    """Return name, arguments and auto_delete of all queues for streams."""
    rows = await ctl(broker, "list_queues", "-p", vhost_of(url), "name", "arguments", "auto_delete", "exclusive")
    return [row for row in rows if 'x-max-length-bytes",67108864' in row[1]]


async def test_one_bounded_queue_for_all_services_that_stream(bench: Bench, governed: Broker, vhost_url: str) -> None:
    transport = await bench.transport()
    await soon(transport.serve(bench.queue(), Worker()))
    assert await _stream_queues(governed, vhost_url) == []
    for _ in range(3):
        await serve(bench, transport)
    ((name, arguments, *flags),) = await _stream_queues(governed, vhost_url)
    assert name.startswith("amq.gen-")
    assert "reject-publish" in arguments
    assert flags == ["true", "true"]
    await soon(transport.close())

    async def is_gone() -> bool:
        return await _stream_queues(governed, vhost_url) == []

    await until_true(is_gone)


def _streams(transport: Transport) -> StreamQueue:
    assert isinstance(transport, RabbitMQTransport)
    worker_session = transport._supervisor._worker_session
    assert worker_session is not None
    return worker_session.streams


async def test_a_queue_that_is_deleted_comes_back_under_its_address(bench: Bench) -> None:
    transport = await bench.transport()
    worker, key = await serve(bench, transport)
    caller, inbox = await bench.caller()
    got = await ask(caller, key, worker, b"1")
    await sent(got, b"open")
    streams = _streams(transport)
    async with streams._session.temporary_channel() as channel:
        await channel.queue_delete(streams._queue)

    async def arrives() -> bool:
        caller.feed(feed(got.address, b"1", b"again"))
        await until(lambda: not worker.fed_messages.empty() or not inbox.refused_feeds.empty())
        while not inbox.refused_feeds.empty():
            assert issubclass(inbox.refused_feeds.get_nowait().refusal, NoRouteError)
        return not worker.fed_messages.empty()

    await until_true(arrives)
    got.reply(Reply(b"end", None, None))
    assert await bodies(inbox, 2) == [b"open", b"end"]


async def test_a_queue_that_is_deleted_before_it_is_bound_is_declared_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    transport, bind, deleted = await bench.transport(), StreamQueue._bind, list[str]()

    async def bound(streams: StreamQueue) -> None:
        if not deleted:
            deleted.append(streams._queue)
            async with streams._session.temporary_channel() as channel:
                await channel.queue_delete(streams._queue)
        await bind(streams)

    monkeypatch.setattr(StreamQueue, "_bind", bound)
    worker, key = await serve(bench, transport)
    caller, _ = await bench.caller()
    got = await ask(caller, key, worker, b"1")
    await sent(got, b"open")
    caller.feed(feed(got.address, b"1", b"there"))
    assert bytes((await soon(worker.fed_messages.get()))[2].body) == b"there"
    assert len(deleted) == 1
    deleted.clear()
    watch = transport._supervisor._binding_watch  # type: ignore[attr-defined]
    await watch.look()
    caller.feed(feed(got.address, b"1", b"again"))
    assert bytes((await soon(worker.fed_messages.get()))[2].body) == b"again"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_binding_that_is_deleted_comes_back(bench: Bench) -> None:
    transport = await bench.transport()
    worker, key = await serve(bench, transport)
    caller, inbox = await bench.caller()
    got = await ask(caller, key, worker, b"1")
    await sent(got, b"open")
    streams = _streams(transport)
    async with streams._session.temporary_channel() as channel:
        await channel.queue_unbind(streams._queue, "rpc", got.address)
    caller.feed(feed(got.address, b"1", b"lost"))
    assert issubclass((await soon(inbox.refused_feeds.get())).refusal, NoRouteError)
    watch = transport._supervisor._binding_watch  # type: ignore[attr-defined]
    await watch.look()  # as it does from time to time
    caller.feed(feed(got.address, b"1", b"there"))
    assert bytes((await soon(worker.fed_messages.get()))[2].body) == b"there"


async def test_a_queue_that_is_full_refuses(bench: Bench, raw: AbstractChannel) -> None:
    address = "stream:of-a-worker-that-reads-nothing"
    caller, inbox = await bench.caller()
    await raw.queue_declare("full", exclusive=True, arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    await raw.queue_bind("full", "rpc", address)
    for number in range(5):
        caller.feed(feed(address, b"%d" % number))
    refused = [await soon(inbox.refused_feeds.get()) for _ in range(3)]
    assert {one.correlation_id for one in refused} == {b"2", b"3", b"4"}
    assert all(issubclass(one.refusal, QueueFullError) and one.detail for one in refused)
    assert inbox.refusals.empty()


async def test_a_feed_between_requests_disturbs_no_confirm(bench: Bench) -> None:
    """Confirms come by delivery tag, several at a time: those of feeds lie between those of requests."""
    worker, key = await serve(bench, fetch_size=500)
    caller, inbox = await bench.caller()
    nobody = bench.queue()
    for number in range(300):
        caller.send(request_to(nobody, b"lost-%d" % number))
        caller.feed(feed("stream:nobody", b"feed-%d" % number))
        caller.send(request_to(nobody, b"found-%d" % number)._replace(routing_key=key))
    lost = {(await soon(inbox.refusals.get())).correlation_id for _ in range(300)}
    refused = {(await soon(inbox.refused_feeds.get())).correlation_id for _ in range(300)}
    assert lost == {b"lost-%d" % number for number in range(300)}
    assert refused == {b"feed-%d" % number for number in range(300)}
    await until(lambda: not caller.unconfirmed)
    for _ in range(300):
        (await worker.next()).discard()
    channel: Any = caller._channel  # type: ignore[attr-defined]
    assert channel._feeds == {}


@pytest.mark.parametrize("direct", [False, True], ids=["own queue", "direct reply-to"])
async def test_a_caller_needs_no_permission_but_to_write_to_rpc(
    bench: Bench, users: Users, monkeypatch: pytest.MonkeyPatch, direct: bool
) -> None:
    monkeypatch.setenv("RABIBRIDGE_DIRECT_REPLY", str(direct))
    worker, key = await serve(bench)
    url = await users.add(*(("^$", "^rpc$", "^$") if direct else ("^amq.gen-.*$", "^rpc$", "^amq.gen-.*$")))
    transport, inbox = RabbitMQTransport(load_settings(url=url), "poor"), Inbox()
    await soon(transport.connect())
    caller = await soon(transport.open_caller(inbox))
    got = await ask(caller, key, worker, b"1")
    for size in (1, 500_000, 2):
        await sent(got, bytes(size))
    caller.feed(feed(got.address, b"1", b"credit"))
    assert bytes((await soon(worker.fed_messages.get()))[2].body) == b"credit"
    got.reply(Reply(b"end", None, None))
    assert [len(body) for body in await bodies(inbox, 4)] == [1, 500_000, 2, 3]
    await soon(transport.close())


async def test_a_worker_that_may_not_have_such_a_queue_hears_it_once_and_serves_the_rest(
    bench: Bench, users: Users
) -> None:
    url = await users.add("^rpc.*$", ".*", ".*")  # not to declare amq.gen-...
    transport = RabbitMQTransport(load_settings(url=url), "poor")
    await soon(transport.connect())
    plain, worker = bench.queue(), Worker()
    consumer = await soon(transport.serve(plain, worker))
    with pytest.raises(ConfigurationError, match=r"streams and uploads.*CONFIGURE.*amq\.gen") as refused:
        await soon(transport.serve(bench.queue(streams=True), Worker()))
    assert "READ for 'rpc'" in str(refused.value)
    assert consumer.live
    await users.allow(url, ".*", ".*", ".*")
    caller, _ = await bench.caller()

    async def is_served() -> bool:
        queue, streaming = bench.queue(streams=True), Worker()
        try:
            await transport.serve(queue, streaming)
        except ConfigurationError:
            return False
        got = await ask(caller, queue.routing_keys[0], streaming, b"1")
        await sent(got, b"open")
        caller.feed(feed(got.address, b"1", b"credit"))
        await soon(streaming.fed_messages.get())
        got.discard()
        return True

    await until_true(is_served)
    await soon(transport.close())
