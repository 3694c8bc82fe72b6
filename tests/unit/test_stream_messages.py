"""What the messages of streams look like, and which requests are refused."""

from __future__ import annotations

import asyncio
import functools
import operator
from typing import TYPE_CHECKING

from rabibridge_core._codec.codec import Codec
from tests.unit.scripted_requests import ScriptedRequest, turns, until
from tests.unit.stream_requests import StreamRequest, make_streaming

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


async def count(number: int) -> AsyncIterator[int]:
    for index in range(number):
        yield index


def count_in_thread(number: int) -> Iterator[int]:
    yield from range(number)


async def test_a_large_item_goes_alone() -> None:
    async def func() -> AsyncIterator[bytes]:
        for size in (10, 300_000, 20, 30):
            yield b"x" * size

    service, request = make_streaming(func), StreamRequest()
    service.received(request)
    await until(lambda: request.settled)
    sizes = [[len(item) for item in message] for message in request.messages]
    assert [300_000] in sizes
    assert functools.reduce(operator.iadd, sizes, []) == [10, 300_000, 20, 30]


async def test_a_slow_transport_holds_further_parts_and_the_end_back() -> None:
    async def func() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        yield 2

    service, request = make_streaming(func), StreamRequest()
    request.gate = gate = asyncio.get_running_loop().create_future()
    service.received(request)
    await until(lambda: request.parts)
    await turns(50)
    assert (request.messages, request.settled) == ([[1]], False)
    gate.set_result(None)
    await until(lambda: request.settled)
    assert request.messages == [[1], [2]]


async def test_a_mutable_item_arrives_as_it_was_yielded() -> None:
    async def func() -> AsyncIterator[list[int]]:
        item: list[int] = []
        for index in range(3):
            item.append(index)
            yield item

    service, request = make_streaming(func), StreamRequest()
    service.received(request)
    await until(lambda: request.settled)
    assert request.items == [[0], [0, 1], [0, 1, 2]]


async def test_formats_that_cannot_join_send_one_item_in_a_message() -> None:
    codec = Codec(serializer="pickle", signing_key=bytes(32))
    service, request = make_streaming(count, codec=codec), StreamRequest((4,), codec=codec)
    service.received(request)
    await until(lambda: request.settled)
    assert request.messages == [[0], [1], [2], [3]]


async def test_a_caller_that_reads_no_zstd_gets_none() -> None:
    async def func() -> AsyncIterator[str]:
        yield "x" * 10_000

    for accepted, encoding in (("identity", "identity"), ("zstd", "zstd")):
        service, request = make_streaming(func), StreamRequest(headers={"rb-accept-encoding": accepted})
        service.received(request)
        await until(lambda: request.settled)  # noqa: B023
        assert (request.parts[0].content_encoding, request.items) == (encoding, ["x" * 10_000])


async def test_json_is_answered_with_json() -> None:
    service, request = make_streaming(count), StreamRequest((3,), codec=Codec(serializer="json"))
    service.received(request)
    await until(lambda: request.settled)
    assert (request.parts[0].body, request.parts[0].content_type) == (b"[0,1,2]", "application/json")


async def test_a_plain_request_to_a_service_that_streams_is_refused() -> None:
    for func in (count, count_in_thread):
        service, request = make_streaming(func), ScriptedRequest((3,))
        service.received(request)
        await until(lambda: request.settled)  # noqa: B023
        assert request.error["rb-error"] == "arguments"
        assert "client.stream" in str(request.error["rb-error-message"])


async def test_a_stream_of_a_plain_service_is_refused_without_running_it() -> None:
    ran = []

    async def func() -> None:
        ran.append(1)

    service, request = make_streaming(func), StreamRequest()
    service.received(request)
    await until(lambda: request.settled)
    assert (ran, request.error["rb-error"], "rb-items" in request.end) == ([], "arguments", False)
    assert "client.call" in str(request.end["rb-error-message"])
