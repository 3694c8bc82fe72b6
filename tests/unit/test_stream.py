"""Streams of a client: order, completeness, credit, and every way in which they end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._codec.annotations import ResultAdapter
from rabibridge_core.errors import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    NoRouteError,
    QueueFullError,
    RabiBridgeError,
    RemoteExecutionError,
    SerializationError,
    StreamError,
)
from tests.unit.client_support import PATIENCE, lose, turns
from tests.unit.client_support import reply as plain_reply
from tests.unit.stream_support import asked, credits_of, read, rest, stream

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from tests.unit.scripted_transport import ScriptedTransport


async def test_items_come_in_order_and_end(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client, 2024)
    await turns()
    assert transport.sent == [], "nothing is sent before the first step"
    task = asyncio.create_task(rest(source))
    worker = await asked(client, transport)
    request = worker.request
    assert request.routing_key == "any:report"
    assert request.headers == {"rb-stream": "16,1048576"}
    assert request.timeout == pytest.approx(PATIENCE, abs=5)
    assert client.pending == 1
    worker.open().items(1, 2).items("three")
    worker.items(None, [5]).end()
    assert await task == [1, 2, "three", None, [5]]
    assert source.received == 5
    assert client.pending == 0
    assert transport.cancelled == []
    assert [item async for item in source] == []


async def test_an_empty_stream_has_no_parts(client: Client, transport: ScriptedTransport) -> None:
    task = asyncio.create_task(rest(stream(client)))
    (await asked(client, transport)).end()
    assert await task == []


@pytest.mark.parametrize(
    ("spoil", "received", "why"),
    [
        (lambda worker: worker.open().items(1, index=1), 0, "is missing: the item 0 should come next, and 1 did"),
        (lambda worker: worker.items(1, 2).items(3, index=1), 2, "came twice or too late"),
        (lambda worker: worker.items(1, 2).items(4, index=3), 2, "is missing"),
        (lambda worker: worker.items(1, 2).end(3), 2, "it has 3 items by its end, and 2 have come"),
        (lambda worker: worker.items(1, 2).end(1), 2, "it has 1 items by its end"),
        (lambda worker: worker.items(1, **{"rb-index": "0"}), 0, "does not say which items"),
    ],
)
async def test_what_is_wrong_is_never_silent(
    client: Client, transport: ScriptedTransport, spoil: Any, received: int, why: str
) -> None:
    source = stream(client)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    spoil(worker)
    got: list[Any] = []
    with pytest.raises(StreamError, match=why) as caught:
        got.append(await first)
        got.extend(await rest_into(source, got))
    assert caught.value.received == len(got) == received
    with pytest.raises(StreamError, match=why) as again:
        await anext(source)
    assert again.value.received == received
    assert client.pending == 0


async def rest_into(source: Any, got: list[Any]) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        async for item in source:
            got.append(item)
    return []


async def test_a_stream_without_its_first_message(client: Client, transport: ScriptedTransport) -> None:
    task = asyncio.create_task(rest(stream(client)))
    worker = await asked(client, transport)
    worker._first = False
    worker.items(1)
    with pytest.raises(StreamError, match="its first message is missing"):
        await task
    assert transport.cancelled == [("any:report", worker.request.correlation_id)]


async def test_a_service_that_returns_one_result(client: Client, transport: ScriptedTransport) -> None:
    task = asyncio.create_task(rest(stream(client)))
    worker = await asked(client, transport)
    client.calls.replied(worker.request.correlation_id, plain_reply(7))
    with pytest.raises(StreamError, match=r"returned one result.*use client\.call") as caught:
        await task
    assert caught.value.received == 0


async def test_an_end_without_a_number(client: Client, transport: ScriptedTransport) -> None:
    task = asyncio.create_task(rest(stream(client)))
    worker = await asked(client, transport)
    client.calls.replied(worker.open().request.correlation_id, plain_reply(None))
    with pytest.raises(StreamError, match="does not say how many"):
        await task


async def test_credit_is_reported_after_half_of_the_window(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    for number in range(16):
        worker.items(number)
    assert await first == 0
    await read(source, 6)
    assert transport.fed == []
    await read(source, 1)
    assert credits_of(transport) == [8]
    fed = transport.fed[0]
    assert (fed.routing_key, fed.correlation_id, fed.body) == ("stream:a", worker.request.correlation_id, b"")
    await read(source, 8)
    assert credits_of(transport) == [8, 16]
    worker.items(os.urandom(600_000))
    await read(source, 1)
    assert credits_of(transport) == [8, 16, 17], "half of the bytes"
    worker.end()
    assert await rest(source) == []


async def test_credit_that_was_refused_is_sent_again(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    for number in range(9):
        worker.items(number)
    await first
    await read(source, 8)
    assert credits_of(transport) == [8]
    client.calls.feed_refused(worker.request.correlation_id, QueueFullError, "full")
    client.calls.feed_refused(worker.request.correlation_id, QueueFullError, "full")
    client.calls.feed_refused(worker.request.correlation_id, NoRouteError, "gone")
    client.calls.feed_refused(b"unknown", NoRouteError, "gone")
    async with asyncio.timeout(PATIENCE):
        while len(transport.fed) < 2:  # noqa: ASYNC110 - a timer of the client
            await asyncio.sleep(0.01)
    assert credits_of(transport) == [8, 9], "what was consumed meanwhile is in it"
    await source.aclose()


async def test_a_worker_that_ignores_the_window(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    for number in range(25):
        worker.items(number)
    with pytest.raises(StreamError, match="sends more than the window of 16 messages"):
        await first
    second = asyncio.create_task(anext(stream(client)))
    worker = await asked(client, transport, 2)
    for _ in range(12):
        worker.items(os.urandom(200_000))
    with pytest.raises(StreamError, match="1048576 bytes"):
        await second


async def test_large_items_one_of_which_exceeds_the_window(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    worker.items(os.urandom(5_000_000))
    assert len(await first) == 5_000_000
    assert credits_of(transport) == [1]
    worker.items("x").items(os.urandom(5_000_000)).items(os.urandom(5_000_000)).items("x").end()
    assert [len(item) for item in await rest(source)] == [1, 5_000_000, 5_000_000, 1]


async def test_breaking_off_stops_the_producer_at_once(client: Client, transport: ScriptedTransport) -> None:
    async def reader() -> int:
        async for item in stream(client):
            return int(item)
        return -1

    task = asyncio.create_task(reader())
    worker = await asked(client, transport)
    worker.items(1, 2, 3)
    assert await task == 1
    await turns()
    assert transport.cancelled == [("any:report", worker.request.correlation_id)]
    assert client.pending == 0
    worker.items(4).end()
    assert client.stray_replies == 2


async def test_a_stream_that_is_held_is_closed_by_aclose(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    worker.items(1, 2)
    await first
    async for _ in source:
        break
    await turns()
    assert transport.cancelled == []
    await asyncio.gather(source.aclose(), source.aclose())
    await source.aclose()
    assert len(transport.cancelled) == 1
    assert [item async for item in source] == []
    assert source.received == 2
    assert "2 items, ended" in repr(source)


async def test_the_block_closes_it(client: Client, transport: ScriptedTransport) -> None:
    async with stream(client) as source:
        first = asyncio.create_task(anext(source))
        (await asked(client, transport)).items(1)
        await first
    assert len(transport.cancelled) == 1
    async with contextlib.aclosing(stream(client)) as never_read:
        assert never_read.received == 0
    assert len(transport.sent) == 1


async def test_closing_while_another_task_waits(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    waiting = [asyncio.create_task(anext(source, "end")) for _ in range(3)]
    worker = await asked(client, transport)
    worker.open()
    await turns()
    await source.aclose()
    assert await asyncio.gather(*waiting) == ["end"] * 3
    assert len(transport.cancelled) == 1


async def test_several_readers_share_a_stream(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    tasks = [asyncio.create_task(rest(source)) for _ in range(3)]
    worker = await asked(client, transport)
    assert len(transport.sent) == 1
    for number in range(0, 30, 3):
        worker.items(number, number + 1, number + 2)
        await turns()
    worker.end()
    found = await asyncio.gather(*tasks)
    assert sorted(sum(found, [])) == list(range(30))
    assert all(part == sorted(part) for part in found)


async def test_cancelling_a_step_loses_nothing(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    worker.open()
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    worker.items(1, 2).end()
    assert await rest(source) == [1, 2]
    assert transport.cancelled == []


async def test_closing_before_it_could_be_sent(client: Client, transport: ScriptedTransport) -> None:
    transport.pause("no connection")
    source = stream(client)
    waiting = asyncio.create_task(anext(source, "end"))
    await turns()
    await source.aclose()
    assert await waiting == "end"
    assert transport.sent == transport.cancelled == []
    transport.open.set()


async def test_garbage_in_a_cycle_and_on_a_closed_loop(client: Client, transport: ScriptedTransport) -> None:
    source: Any = stream(client)
    first = asyncio.create_task(anext(source))
    (await asked(client, transport)).items(1, 2)
    await first
    holder: list[Any] = [source]
    holder.append(holder)
    del source, holder, first
    gc.collect()
    assert transport.cancelled == [], "it may have been in the middle of anything"
    await turns()
    assert len(transport.cancelled) == 1


async def test_errors_of_the_function(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    worker.items(1, 2)
    await first
    worker.fails()
    assert await read(source, 1) == [2]
    with pytest.raises(RemoteExecutionError, match="ValueError: broken") as caught:
        await anext(source)
    assert caught.value.received == 2
    assert caught.value.executed is True
    again: RemoteExecutionError = pickle.loads(pickle.dumps(caught.value))
    assert again.received == 2
    assert transport.cancelled == []


async def test_refusals(client: Client, transport: ScriptedTransport) -> None:
    for refusal in (QueueFullError, NoRouteError):
        source = stream(client)
        first = asyncio.create_task(anext(source))
        worker = await asked(client, transport, len(transport.sent) + 1)
        client.calls.refused(worker.request.correlation_id, refusal, "it is so")
        with pytest.raises(refusal, match="it is so") as caught:
            await first
        assert (caught.value.received, caught.value.executed) == (0, False)
    assert client.pending == 0


async def test_the_timeout_is_for_the_whole_stream(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client, timeout=0.2)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    worker.items(1, 2, 3).items(4)
    assert await first == 1
    await asyncio.sleep(0.25)
    with pytest.raises(CallTimeoutError, match=r"no end of the stream within 0\.2 s") as caught:
        await anext(source)
    assert caught.value.received == 1
    assert source.received == 1
    assert transport.cancelled == [("any:report", worker.request.correlation_id)]
    assert transport.looked == [], "there is a worker, as it has answered"


async def test_nobody_answers(client: Client, transport: ScriptedTransport) -> None:
    transport.queue_state = (0, 1)
    with pytest.raises(CallTimeoutError, match="no worker serves it now") as caught:
        await rest(stream(client, timeout=0.05))
    assert caught.value.received == 0


async def test_the_idle_timeout_is_for_each_item(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client, idle_timeout=0.15)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    worker.open()
    await asyncio.sleep(0.1)
    worker.items(1)
    await first
    await asyncio.sleep(0.3)  # the time of the reader does not count
    second = asyncio.create_task(anext(source))
    await asyncio.sleep(0.1)
    worker.items(2)
    assert await second == 2
    with pytest.raises(CallTimeoutError, match=r"the item 2 did not come within idle_timeout=0\.15 s") as caught:
        await anext(source)
    assert caught.value.received == 2
    assert transport.cancelled == [("any:report", worker.request.correlation_id)]


async def test_wrong_options(client: Client, transport: ScriptedTransport) -> None:
    with pytest.raises(ConfigurationError, match="idle_timeout is 0; it must be a positive"):
        stream(client, idle_timeout=0)
    with pytest.raises(ConfigurationError, match="use idempotent=True, or register"):
        stream(client, idempotency_key="k")
    with pytest.raises(ConfigurationError, match="timeout is"):
        stream(client, timeout="x")
    transport.streams = False
    with pytest.raises(ConfigurationError, match="ScriptedTransport carries no streams"):
        stream(client)


async def test_items_are_made_what_the_annotation_says(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client, adapt=ResultAdapter(tuple[int, str], "report", "item"))
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    worker.items([1, "a"], [2, "b"], 3, [4, "d"])
    assert await first == (1, "a")
    assert await read(source, 1) == [(2, "b")]
    with pytest.raises(SerializationError, match="the item does not fit its annotation") as caught:
        await anext(source)
    assert caught.value.received == 2
    assert len(transport.cancelled) == 1


async def test_a_body_that_cannot_be_read(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    worker.items(1)
    await first
    reply = plain_reply(1)._replace(body=b"\xc1", headers={"rb-part": "items", "rb-index": 1})
    client.calls.replied(worker.request.correlation_id, reply)
    with pytest.raises(SerializationError) as caught:
        await anext(source)
    assert caught.value.received == 1


async def test_closing_the_client(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    first = asyncio.create_task(anext(source))
    (await asked(client, transport)).items(1, 2)
    await first
    await client.close()
    assert len(transport.cancelled) == 1
    assert await read(source, 1) == [2]
    with pytest.raises(ConnectionLostError, match="was closed") as caught:
        await anext(source)
    assert caught.value.received == 2


async def test_many_that_are_dropped_leave_nothing(client: Client, transport: ScriptedTransport) -> None:
    for number in range(500):
        source = stream(client)
        first = asyncio.create_task(anext(source))
        worker = await asked(client, transport, number + 1)
        worker.items(1).items(2)
        await first
        del source, first
    await turns()
    assert len(transport.cancelled) == 500
    assert client.pending == 0
    assert len(client.calls.deadlines) == 0


async def test_one_that_nobody_reads_does_not_hold_up_another(client: Client, transport: ScriptedTransport) -> None:
    unread, other = stream(client), stream(client)
    first = asyncio.create_task(anext(unread))
    for number in range(16):
        worker = (await asked(client, transport)) if number == 0 else worker
        worker.items(number)
    await first
    task = asyncio.create_task(rest(other))
    worker = await asked(client, transport, 2)
    for number in range(1000):
        worker.items(number)
        await turns(lambda: not client.pending or len(credits_of(transport)) >= (number + 1) // 8)
    worker.end()
    assert await task == list(range(1000))
    await unread.aclose()


async def test_hooks_hear_once_of_a_stream(client: Client, transport: ScriptedTransport, manager: Any) -> None:
    del manager
    heard: list[Any] = []
    client._hooks = client.preparation.hooks = _Hooks(heard)  # type: ignore[assignment]
    source = stream(client)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    assert (worker.request.headers or {})["trace"] == "t"
    worker.items(1).end()
    assert await first == 1
    assert await rest(source) == []
    assert heard == ["sent", None]
    source = stream(client)
    first = asyncio.create_task(anext(source))
    (await asked(client, transport, 2)).items(1)
    await first
    await source.aclose()
    await source.aclose()
    assert heard[2] == "sent"
    assert isinstance(heard[3], asyncio.CancelledError)
    lost = stream(client)
    first = asyncio.create_task(anext(lost))
    await asked(client, transport, 3)
    lose(client, transport)
    with pytest.raises(ConnectionLostError):
        await first
    assert heard[4] == "sent"
    assert isinstance(heard[5], RabiBridgeError)
    assert len(heard) == 6


class _Hooks:
    active = True

    def __init__(self, heard: list[Any]) -> None:
        self._heard = heard

    def call_sent(self, name: str, correlation_id: bytes, timeout: Any, headers: Any) -> tuple[float, Any]:
        self._heard.append("sent")
        return 0.0, {**(headers or {}), "trace": "t"}

    def call_finished(self, name: str, correlation_id: bytes, started: float, error: Any) -> None:
        self._heard.append(error)
