"""Streams of a client: order, completeness and credit."""

from __future__ import annotations

import asyncio
import itertools
import os
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core.errors import (
    NoRouteError,
    QueueFullError,
    StreamError,
)
from tests.unit.client_support import PATIENCE, turns
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
    assert request.headers == {"rb-stream": "16,1048576", "rb-last-items": True}
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
        await _collect(first, source, got)
    assert caught.value.received == len(got) == received
    with pytest.raises(StreamError, match=why) as again:
        await anext(source)
    assert again.value.received == received
    assert client.pending == 0


async def _collect(first: asyncio.Task[Any], source: Any, got: list[Any]) -> None:
    async with asyncio.timeout(PATIENCE):
        got.append(await first)
        async for item in source:
            got.append(item)


async def test_a_stream_without_its_first_message(client: Client, transport: ScriptedTransport) -> None:
    task = asyncio.create_task(rest(stream(client)))
    worker = await asked(client, transport)
    worker._first = False
    worker.items(1)
    with pytest.raises(StreamError, match="its first message is missing"):
        await task
    assert transport.cancelled == [("any:report", worker.request.correlation_id)]


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
    assert sorted(itertools.chain(*found)) == list(range(30))
    assert all(part == sorted(part) for part in found)


async def test_one_that_nobody_reads_does_not_hold_up_another(client: Client, transport: ScriptedTransport) -> None:
    unread, other = stream(client), stream(client)
    first = asyncio.create_task(anext(unread))
    worker = await asked(client, transport)
    for number in range(16):
        worker.items(number)
    await first
    task = asyncio.create_task(rest(other))
    worker = await asked(client, transport, 2)
    for number in range(1000):
        worker.items(number)
        await turns(partial(_reported, transport, (number + 1) // 8))
    worker.end()
    assert await task == list(range(1000))
    await unread.aclose()


def _reported(transport: ScriptedTransport, count: int) -> bool:
    return len(credits_of(transport)) >= count
