"""Replies in bundles on a real broker: each ends its call once, in order, and only those who ask for it get them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from rabibridge import InvalidArgumentsError, RemoteExecutionError
from rabibridge._amqp.bundles import BUNDLE_TYPE
from rabibridge._amqp.headers import BUNDLES_HEADER
from rabibridge_core.errors import CallTimeoutError, ConnectionLostError
from rabibridge_core.transport import Reply
from rabibridge_testing.conformance.harness import Inbox, Worker, request_to
from tests.rabbitmq.support import until_waiting, waiting_in
from tests.support.proxy import Proxy
from tests.support.services import new_echo
from tests.support.waiting import soon, until, until_true

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core.transport import Caller, IncomingRequest
    from rabibridge_testing.conformance.harness import Bench
    from tests.rabbitmq.support import Stage

_TYPE = BUNDLE_TYPE.encode()
_ANNOUNCED = BUNDLES_HEADER.encode()


class _BusyInbox(Inbox):
    """The events of a caller that has many calls in flight, or says so."""

    def __init__(self) -> None:
        super().__init__()
        self.pending = [b"one"] * 1000


class _Pair(NamedTuple):
    """A busy caller, and what a worker has taken of it."""

    transport: Any
    inbox: Inbox
    worker: Worker
    requests: list[IncomingRequest]


async def _taken(bench: Bench, count: int, announced: int = 100) -> _Pair:
    """Let a caller send requests, and a worker take them; it is busy when it sends the first ones (``announced``)."""
    queue, worker, inbox = bench.queue(), Worker(), _BusyInbox()
    await soon((await bench.transport()).serve(queue, worker))
    transport: Any = await bench.transport()
    caller: Caller = await soon(transport.open_caller(inbox))
    for number in range(count):
        if number == announced:
            inbox.pending.clear()
        caller.send(request_to(queue, b"%d" % number, timeout=600.0))
    return _Pair(transport, inbox, worker, [await worker.next() for _ in range(count)])


def _reply(body: bytes, **headers: Any) -> Reply:
    return Reply(body, "application/octet-stream", None, headers or None)


async def test_a_thousand_calls_at_once_end_once_each_with_what_is_theirs(stage: Stage) -> None:
    ended: list[int] = []

    async def work(number: int) -> Any:
        if number % 7 == 0:
            raise LookupError(f"not {number}")
        return number if number % 11 else "x" * 5000

    async def count(number: int) -> AsyncIterator[tuple[int, int]]:
        for item in range(3):
            yield number, item
            await asyncio.sleep(0)

    called, streamed = stage.register(work), stage.register(count)
    async with Proxy(stage.url, recording=True) as proxy:
        await stage.server(work, count, url=proxy.url)
        client = await stage.client()

        async def call(number: int) -> None:
            if number % 7:
                assert await client.remote_call(called, (number,)) == (number if number % 11 else "x" * 5000)
            else:
                with pytest.raises(RemoteExecutionError, match=f"not {number}\\b"):
                    await client.remote_call(called, (number,))
            ended.append(number)

        async def misuse() -> None:
            with pytest.raises(InvalidArgumentsError):
                await client.remote_call(called, ("too", "many"))

        async def stream(number: int) -> None:
            items = [item async for item in client.stream(streamed, number)]
            assert items == [[number, item] for item in range(3)]

        await soon(asyncio.gather(*map(call, range(1000)), *map(stream, range(80)), *(misuse() for _ in range(20))))
        assert sorted(ended) == list(range(1000))
        assert (client.pending, client.stray_replies) == (0, 0)
        await stage.close()  # with it, the last acknowledgements are sent
        sent = bytes(proxy.link.sent)
    assert _TYPE in sent
    assert await waiting_in(stage.url, f"rpc_async_{called}") == 0


async def test_parts_and_replies_of_one_turn_keep_their_order(bench: Bench) -> None:
    _, inbox, _, (first, second, third) = await _taken(bench, 3, announced=2)
    sent = []
    large = b"l" * 300_000  # of several frames: it goes alone
    for number in range(300):  # more than one bundle holds
        request = (first, second)[number % 2]
        body = large if number == 123 else b"%d" % number
        waits = request.reply_part(_reply(body, **{"rb-index": number}))
        if waits is not None:
            await soon(waits)
        sent.append((request.correlation_id, body))
    for request in (first, third, second):
        request.reply(_reply(b"end"))
        sent.append((request.correlation_id, b"end"))
    got = [await soon(inbox.replies.get()) for _ in sent]
    assert [(correlation_id, reply.body) for correlation_id, reply in got] == sent
    assert [reply.headers for _, reply in got][:2] == [{"rb-index": 0}, {"rb-index": 1}]
    assert inbox.replies.empty()


async def test_a_returned_bundle_tells_that_its_caller_is_gone(bench: Bench) -> None:
    transport, _, worker, (*replied, open_one) = await _taken(bench, 5)
    channel: Any = open_one._channel  # type: ignore[attr-defined]
    transport.abort()

    async def noticed() -> bool:
        open_one.probe()
        await channel.synchronize()  # what was returned has arrived
        return not worker.gone.empty()

    await until_true(noticed)
    while not worker.gone.empty():
        worker.gone.get_nowait()
    for request in replied:
        request.reply(_reply(b"too late"))
    channel.flush()
    await soon(channel.synchronize())
    assert worker.gone.get_nowait() == open_one.caller
    assert worker.gone.empty()  # they were one message
    open_one.discard()


async def test_a_connection_that_is_cut_within_a_bundle_ends_no_call_with_a_part_of_it(
    stage: Stage,
) -> None:
    name = stage.register(echo := new_echo())
    server = await stage.server(echo, start=False)
    async with Proxy(stage.url) as proxy:
        client = await stage.client(url=proxy.url)
        calls = [asyncio.create_task(client.remote_call(name, (number,))) for number in range(300)]
        await until(lambda: client.pending == 300)

        await until_waiting(stage.url, f"rpc_async_{name}", 300)
        proxy.slice_size = 2000  # less than a bundle of these has
        proxy.when_received.append((_TYPE, proxy.link.cut))
        stage.start(server)
        ended = await soon(asyncio.gather(*calls, return_exceptions=True))
        for number, outcome in enumerate(ended):
            assert outcome == number or isinstance(outcome, ConnectionLostError)
        assert any(isinstance(outcome, ConnectionLostError) for outcome in ended)
        assert client.pending == 0


@pytest.mark.parametrize("direct", ["false", "true"])
@pytest.mark.parametrize("delivery", ["at-least-once", "at-most-once"])
async def test_every_kind_of_delivery_and_of_reply_address(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, direct: str, delivery: str
) -> None:
    monkeypatch.setenv("RABIBRIDGE_DIRECT_REPLY", direct)
    name = stage.register(echo := new_echo(), delivery=delivery)
    async with Proxy(stage.url, recording=True) as proxy:
        await stage.server(echo, url=proxy.url)
        client = await stage.client()
        await client.remote_call(name, (0,))  # the first reply to a node of the broker may take another way
        numbers = list(range(200))
        assert await soon(asyncio.gather(*(client.remote_call(name, (number,)) for number in numbers))) == numbers
        assert any(_TYPE in link.sent for link in proxy.links)


async def test_calls_with_one_key_get_the_one_answer_together(stage: Stage) -> None:
    runs = 0

    async def count() -> int:
        nonlocal runs
        runs += 1
        await asyncio.sleep(0)
        return runs

    name = await stage.serve(count)
    client = await stage.client()
    calls = [client.remote_call(name, idempotency_key="one") for _ in range(100)]
    assert await soon(asyncio.gather(*calls)) == [1] * 100
    assert runs == 1


async def test_cancelled_and_expired_calls_beside_others_in_a_bundle_stay_ended(stage: Stage) -> None:
    opened = asyncio.Event()

    async def wait(number: int) -> int:
        await opened.wait()
        return number

    name = stage.register(wait, fetch_size=400)
    await stage.server(wait)
    client = await stage.client()
    calls = [asyncio.create_task(client.remote_call(name, (number,))) for number in range(300)]
    late = [asyncio.create_task(client.remote_call(name, (number,), timeout=0.01)) for number in range(10)]
    for outcome in await soon(asyncio.gather(*late, return_exceptions=True)):
        assert isinstance(outcome, CallTimeoutError)
    for call in calls[::3]:
        call.cancel()
    opened.set()
    ended = await soon(asyncio.gather(*calls, return_exceptions=True))
    for number, outcome in enumerate(ended):
        assert outcome == number if number % 3 else isinstance(outcome, asyncio.CancelledError)
    assert client.pending == 0
