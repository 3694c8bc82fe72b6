"""Replies that end a stream and hold its last items, on both sides."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._protocol.streams import LAST_BYTES, decode_items, part_context
from rabibridge_core.errors import StreamError
from tests.unit.client_support import turns
from tests.unit.scripted_requests import CODEC, until
from tests.unit.stream_requests import StreamRequest, make_streaming
from tests.unit.stream_support import asked, credits_of, read, rest, stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core._client.client import Client
    from rabibridge_core.transport import HeaderValue
    from tests.unit.scripted_transport import ScriptedTransport

ALLOWED: dict[str, HeaderValue] = {"rb-last-items": True}


async def test_one_reply_may_be_the_whole_stream(client: Client, transport: ScriptedTransport) -> None:
    task = asyncio.create_task(rest(stream(client)))
    (await asked(client, transport)).last(1, 2, 3)
    assert await task == [1, 2, 3]
    assert (client.pending, transport.cancelled, credits_of(transport)) == (0, [], [])


async def test_the_last_items_follow_those_of_the_parts(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    task = asyncio.create_task(rest(source))
    (await asked(client, transport)).items(1, 2).items(3).last(4)
    assert await task == [1, 2, 3, 4]
    assert source.received == 4


@pytest.mark.parametrize(
    ("index", "total", "why", "received"),
    [(3, None, "a message is missing", 2), (1, None, "came twice", 2), (2, 4, "has 4 items by its end", 3)],
)
async def test_the_order_of_the_last_items_is_checked(
    client: Client, transport: ScriptedTransport, index: int, total: int | None, why: str, received: int
) -> None:
    source = stream(client)
    task = asyncio.create_task(rest(source))
    (await asked(client, transport)).items(1, 2).last(3, index=index, total=total)
    with pytest.raises(StreamError, match=why) as caught:
        await task
    assert caught.value.received == received


async def test_the_last_items_without_the_parts_before_them_are_not_taken(
    client: Client, transport: ScriptedTransport
) -> None:
    task = asyncio.create_task(rest(stream(client)))
    worker = await asked(client, transport)
    worker._first = False
    worker.last(3, index=2)
    with pytest.raises(StreamError, match="its first message is missing"):
        await task


async def test_another_worker_that_sends_everything_in_its_reply_has_begun_again(
    client: Client, transport: ScriptedTransport
) -> None:
    source = stream(client)
    first = asyncio.create_task(read(source, 1))
    worker = await asked(client, transport)
    worker.items(1)
    assert await first == [1]
    worker.again("stream:b").last(1, 2)
    with pytest.raises(StreamError, match="another one has begun it again"):
        await rest(source)


async def test_a_resumable_stream_goes_on_behind_such_a_reply(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    first = asyncio.create_task(read(source, 1))
    worker = await asked(client, transport)
    worker.items(1, resumable=True)
    assert await first == [1]
    worker.again("stream:b").last(1, 2, resumable=True)
    task = asyncio.create_task(rest(source))
    again = await asked(client, transport, 2)
    assert (again.request.headers or {})["rb-stream-start"] == 1
    again.last(2)
    assert await task == [2]


async def test_what_another_worker_sends_counts_if_nothing_was_taken(
    client: Client, transport: ScriptedTransport
) -> None:
    source = stream(client)
    task = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    worker.open()
    await turns()
    worker.again("stream:b").last(1, 2)
    assert await task == 1
    assert await rest(source) == [2]


async def test_the_worker_sends_short_last_items_with_its_reply() -> None:
    async def func() -> AsyncIterator[int]:
        yield 1
        yield 2

    service, request = make_streaming(func, idempotent=True), StreamRequest(headers=ALLOWED)
    service.received(request)
    await until(lambda: request.settled)
    (reply,) = request.replies
    assert request.parts == []
    assert decode_items(CODEC, reply, part_context(request.correlation_id, 0)) == [1, 2]
    assert request.end == {
        "rb-index": 0, "rb-items": 2, "rb-address": request.address, "rb-idempotent": True
    }  # fmt: skip


async def test_only_what_is_left_at_the_end_comes_with_the_reply() -> None:
    go_on = asyncio.Event()

    async def func() -> AsyncIterator[int]:
        yield 1
        await go_on.wait()
        yield 2

    service, request = make_streaming(func), StreamRequest(headers=ALLOWED)
    service.received(request)
    await until(lambda: request.parts)
    go_on.set()
    await until(lambda: request.settled)
    (reply,) = request.replies
    assert (request.items, request.end) == ([1], {"rb-index": 1, "rb-items": 2})
    assert decode_items(CODEC, reply, part_context(request.correlation_id, 1)) == [2]


async def test_long_last_items_are_a_part_of_their_own() -> None:
    async def func() -> AsyncIterator[bytes]:
        yield bytes(LAST_BYTES)

    service, request = make_streaming(func), StreamRequest(headers=ALLOWED)
    service.received(request)
    await until(lambda: request.settled)
    assert (request.items, request.end) == ([bytes(LAST_BYTES)], {"rb-items": 1})


async def test_a_function_without_items_ends_as_ever() -> None:
    async def func() -> AsyncIterator[int]:
        for number in range(0):
            yield number

    service, request = make_streaming(func), StreamRequest(headers=ALLOWED)
    service.received(request)
    await until(lambda: request.settled)
    assert (request.parts, request.end) == ([], {"rb-items": 0})


async def test_items_before_an_error_come_before_it() -> None:
    async def func() -> AsyncIterator[int]:
        yield 1
        raise ValueError

    service, request = make_streaming(func), StreamRequest(headers=ALLOWED)
    service.received(request)
    await until(lambda: request.settled)
    assert request.items == [1]
    assert (request.end["rb-error"], request.end["rb-items"]) == ("execution", 1)


async def test_a_caller_that_does_not_allow_it_gets_a_part() -> None:
    async def func() -> AsyncIterator[int]:
        yield 1

    service, request = make_streaming(func), StreamRequest()
    service.received(request)
    await until(lambda: request.settled)
    assert (request.items, request.end) == ([1], {"rb-items": 1})
