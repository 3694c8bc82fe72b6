"""Streams that go on, or do not, after the loss of a connection or of a worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.retry import RetryRefused
from rabibridge_core._codec.codec import Codec
from rabibridge_core.errors import CallTimeoutError, ConnectionLostError, QueueFullError, StreamError
from tests.support.waiting import longer
from tests.unit.client_support import lose, make_client, turns
from tests.unit.scripted_transport import ScriptedTransport
from tests.unit.stream_support import Playing, asked, read, rest, stream

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_core._client.stream import Stream


async def begun(client: Client, transport: ScriptedTransport, **options: Any) -> tuple[Stream[Any], Playing]:
    """Return a stream of which the items 0 and 1 were read, and its worker."""
    first = options.pop("first", {})
    source = stream(client, **options)
    task = asyncio.create_task(read(source, 2))
    worker = await asked(client, transport)
    worker.open(**first).items(0, 1)
    assert await task == [0, 1]
    return source, worker


async def test_a_lost_connection(client: Client, transport: ScriptedTransport) -> None:
    source, worker = await begun(client, transport, idempotent=True)
    worker.items(2)
    lose(client, transport)
    worker.items(3)
    assert await read(source, 1) == [2], "what had come is given out first"
    with pytest.raises(ConnectionLostError, match="the cable was cut") as caught:
        await anext(source)
    assert (caught.value.received, caught.value.executed) == (3, None)
    assert len(transport.sent) == 1


async def test_a_lost_connection_before_anything_came(client: Client, transport: ScriptedTransport) -> None:
    task = asyncio.create_task(rest(stream(client)))
    await asked(client, transport)
    lose(client, transport)
    with pytest.raises(ConnectionLostError) as caught:
        await task
    assert caught.value.received == 0


@pytest.mark.parametrize("how", ["option", "learned", "said"])
async def test_an_idempotent_one_begins_again(client: Client, transport: ScriptedTransport, how: str) -> None:
    if how == "learned":
        client.calls.idempotency.routes.add("any:report")
    task = asyncio.create_task(rest(stream(client, idempotent=how == "option")))
    worker = await asked(client, transport)
    if how == "said":
        worker.open(idempotent=True)
        await turns()
    lose(client, transport)
    await turns()
    assert len(transport.sent) == 1, "the connection is not back"
    transport.open.set()
    again = await asked(client, transport, 2)
    assert again.request.headers == worker.request.headers
    assert again.request.body == worker.request.body
    again.items(1, 2).end()
    assert await task == [1, 2]


async def test_what_nobody_has_taken_is_dropped_then(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client, idempotent=True)
    step = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    step.cancel()
    await asyncio.wait([step])
    worker.items("dropped", "with the rest")
    lose(client, transport)
    await turns()
    transport.open.set()
    task = asyncio.create_task(rest(source))
    (await asked(client, transport, 2)).items(1, 2).end()
    assert await task == [1, 2]


@pytest.mark.parametrize("signed", [False, True])
async def test_a_resumable_one_goes_on(signed: bool) -> None:
    codec = Codec(serializer="pickle", accept=["pickle"], signing_key=b"k" * 32) if signed else Codec()
    transport = ScriptedTransport()
    client = make_client(transport, codec=codec)
    await client.connect()
    source = stream(client, 2024)
    task = asyncio.create_task(read(source, 2))
    await turns(lambda: bool(transport.sent))
    worker = Playing(client, transport.sent[0], codec=codec)
    worker.open(resumable=True).items(0).items(1)
    assert await task == [0, 1]
    worker.items(2).items(3)
    lose(client, transport)
    transport.open.set()
    reading = asyncio.create_task(rest(source))
    await turns(lambda: len(transport.sent) == 2)
    request = transport.sent[1]
    assert (request.headers or {})["rb-stream-start"] == 4
    assert request.correlation_id != worker.request.correlation_id
    assert (request.body == worker.request.body) is not signed
    arguments = codec.decode(request.body, request.content_type, None, request.correlation_id)
    assert arguments == [[2024] if not signed else (2024,), {}, True]
    assert request.timeout is not None
    assert request.timeout < (worker.request.timeout or 0)
    again = Playing(client, request, address="stream:b", codec=codec)
    again.open(resumable=True).items(4).items(5).end()
    assert await reading == [2, 3, 4, 5]
    assert source.received == 6
    await client.close()


async def test_a_worker_that_is_gone(client: Client, transport: ScriptedTransport) -> None:
    source, worker = await begun(client, transport)
    worker.items(2)
    worker.again("stream:b").open().items(0, 1, 2)
    assert await read(source, 1) == [2]
    with pytest.raises(StreamError, match="another one has begun it again") as caught:
        await anext(source)
    assert caught.value.received == 3
    assert transport.cancelled == [("any:report", worker.request.correlation_id)]


async def test_a_worker_that_is_gone_before_anything_was_taken(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    task = asyncio.create_task(rest(source))
    worker = await asked(client, transport)
    worker.open().items(0)
    other = worker.again("stream:b")
    other.items(0, 1)
    other.items(2).end()
    assert await task == [0, 1, 2]
    assert transport.cancelled == []


async def test_a_resumable_one_goes_on_elsewhere(client: Client, transport: ScriptedTransport) -> None:
    source, worker = await begun(client, transport, first={"resumable": True})
    worker.items(2)
    redelivered = worker.again("stream:b").open(resumable=True).items(0, 1, 2)
    reading = asyncio.create_task(rest(source))
    resumed = await asked(client, transport, 2)
    assert transport.cancelled == [("any:report", worker.request.correlation_id)]
    redelivered.items(3)
    resumed.open(resumable=True)
    redelivered_again = resumed.again("stream:c").open(resumable=True)
    redelivered_again.items(3)
    third = redelivered_again.again("stream:d")
    third.items(3, 4, resumable=True)
    await turns()
    last = third.again("stream:e").open(resumable=True)
    del last
    final = await asked(client, transport, 3)
    assert final.index == 5
    final.end()
    assert await reading == [2, 3, 4]


async def test_a_worker_that_was_stopped(client: Client, transport: ScriptedTransport) -> None:
    source, worker = await begun(client, transport)
    worker.fails("stopped", "drain_timeout=30 s was over")
    with pytest.raises(StreamError, match=r"was stopped before it was done: drain_timeout=30 s was over") as caught:
        await anext(source)
    assert caught.value.received == 2


async def test_a_resumable_one_whose_worker_was_stopped(client: Client, transport: ScriptedTransport) -> None:
    source, worker = await begun(client, transport, first={"resumable": True})
    worker.items(2).fails("stopped")
    reading = asyncio.create_task(rest(source))
    resumed = await asked(client, transport, 2)
    assert resumed.index == 3
    resumed.items(3).end()
    assert await reading == [2, 3]
    assert transport.cancelled == []


async def test_no_time_is_left_to_go_on(client: Client, transport: ScriptedTransport) -> None:
    async def lose_one(timeout: float) -> None:
        source, _ = await begun(client, transport, first={"resumable": True}, timeout=timeout)
        lose(client, transport)
        await anext(source)

    timeouts = longer(0.2)
    while True:
        timeout = next(timeouts)
        with pytest.raises(CallTimeoutError) as caught:
            await lose_one(timeout)
        if "no connection: the cable was cut" in str(caught.value):  # it was lost before its time was over
            break
        transport.sent.clear()
        transport.open.set()
    assert caught.value.received == 2
    assert caught.value.executed is None


async def test_a_refusal_when_it_goes_on(client: Client, transport: ScriptedTransport) -> None:
    source, worker = await begun(client, transport, first={"resumable": True})
    worker.fails("stopped")
    step = asyncio.create_task(anext(source))
    resumed = await asked(client, transport, 2)
    client.calls.refused(resumed.request.correlation_id, QueueFullError, "full")
    with pytest.raises(QueueFullError) as caught:
        await step
    assert (caught.value.received, caught.value.executed) == (2, None)


async def test_a_refused_one_is_sent_again_by_the_retry_policy(client: Client, transport: ScriptedTransport) -> None:
    transport.open.set()
    retry = RetryRefused(attempts=3, base=0.01, cap=0.01)
    task = asyncio.create_task(rest(stream(client, retry=retry)))
    first = await asked(client, transport)
    client.calls.refused(first.request.correlation_id, QueueFullError, "full")
    second = await asked(client, transport, 2)
    assert second.request.correlation_id == first.request.correlation_id
    second.items(1).end()
    assert await task == [1]
    waiting = stream(client, retry=RetryRefused(base=5))
    step = asyncio.create_task(anext(waiting, None))
    third = await asked(client, transport, 3)
    client.calls.refused(third.request.correlation_id, QueueFullError, "full")
    await waiting.aclose()
    assert await step is None
    assert transport.cancelled == [], "no worker has it"


async def test_closing_while_it_waits_to_go_on(client: Client, transport: ScriptedTransport) -> None:
    source, _ = await begun(client, transport, first={"resumable": True})
    lose(client, transport)
    step = asyncio.create_task(anext(source, "end"))
    await turns()
    await source.aclose()
    assert await step == "end"
    assert len(transport.sent) == 1
    transport.open.set()


async def test_a_client_that_is_closed_does_not_go_on(client: Client, transport: ScriptedTransport) -> None:
    source, _ = await begun(client, transport, first={"resumable": True})
    await client.close()
    with pytest.raises(ConnectionLostError, match="was closed") as caught:
        await anext(source)
    assert caught.value.received == 2
