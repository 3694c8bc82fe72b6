"""Uploads on the serving side: items in order, no faster than they are read, and every failure an error at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator  # noqa: TC003 - annotations are resolved
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._codec.codec import Codec
from rabibridge_core.errors import StreamError
from rabibridge_core.transport import Reply
from tests.unit.scripted_requests import turns, until
from tests.unit.stream_requests import EVENTS, STOPS, StreamRequest, cancel_run, make_streaming

if TYPE_CHECKING:
    from rabibridge_core._server.service import ServiceRunner


async def collect(items: AsyncIterator[int], start: int = 0) -> list[int]:
    return [start, *[item async for item in items]]


def collect_in_thread(items: Iterator[int], start: int = 0) -> list[int]:
    return [start, *items]


BOTH = pytest.mark.parametrize("func", [collect, collect_in_thread])


def uploading(args: tuple[Any, ...] = (None,), upload: str = "0", **options: Any) -> StreamRequest:
    return StreamRequest(args, window=None, upload=upload, **options)


def reader_of(service: ServiceRunner) -> Any:
    sessions = service._processor.sessions
    assert sessions is not None
    (session,) = sessions._by_id.values()
    return session.reader


def end(service: Any, request: StreamRequest, total: int) -> Any:
    request.feed(service, {"rb-part": "end", "rb-index": total})


@BOTH
async def test_an_upload(func: Any) -> None:
    service, request = make_streaming(func), uploading((None, 7))
    service.received(request)
    await until(lambda: request.parts)
    assert dict(request.parts[0].headers or {}) == {
        "rb-part": "open", "rb-address": request.address, "rb-window": "16,1048576"
    }  # fmt: skip
    request.upload(service, 0, 1, 2)
    await turns()
    request.upload(service, 2, 3)
    end(service, request, 3)
    await until(lambda: request.settled)
    assert (request.answer, "rb-items" in request.end) == ([0, [7, 1, 2, 3]], False)
    assert len(service._processor.sessions or ()) == 0


@BOTH
async def test_an_upload_by_name_and_an_empty_one(func: Any) -> None:
    service, request = make_streaming(func), uploading((), "items", kwargs={"items": None, "start": 1})
    service.received(request)
    await until(lambda: request.parts)
    end(service, request, 0)
    await until(lambda: request.settled)
    assert request.answer == [0, [1]]


@BOTH
@pytest.mark.parametrize(
    ("feed", "says"),
    [
        (lambda service, request: request.upload(service, 1, 5), "item 0 is missing.*begins with item 1"),
        (lambda service, request: request.upload(service, 0, 5) or request.upload(service, 0, 5), "item 1 is missing"),
        (
            lambda service, request: request.upload(service, 0, 5) or end(service, request, 2),
            "after 2 items, of which 1",
        ),
        (lambda service, request: end(service, request, 1), "after 1 items, of which 0"),
        (lambda service, request: request.feed(service, {"rb-part": "items"}), "no index"),
        (lambda service, request: request.feed(service, {"rb-part": "end", "rb-index": -1}), "no index"),
        (
            lambda service, request: request.feed(
                service, {"rb-part": "error", "rb-error-type": "ValueError", "rb-error-message": "no\nmore"}
            ),
            r"the caller has failed: ValueError: no\\nmore",
        ),
        (lambda service, request: request.feed(service, {"rb-part": "error"}), "the caller has failed"),
    ],
)
async def test_an_upload_that_breaks_off_is_an_error_in_the_function(func: Any, feed: Any, says: str) -> None:
    service, request = make_streaming(func), uploading()
    service.received(request)
    await until(lambda: request.parts)
    feed(service, request)
    await until(lambda: request.settled)
    assert request.end["rb-error-type"] == "rabibridge_core.errors.StreamError"
    with pytest.raises(StreamError, match=says):
        raise StreamError(str(request.end["rb-error-message"]))


async def test_the_error_of_the_caller_comes_before_items_that_were_not_read() -> None:
    seen: list[Any] = []
    release = asyncio.Event()

    async def func(items: AsyncIterator[int]) -> None:
        try:
            async for item in items:
                seen.append(item)
                await release.wait()
        except StreamError as error:
            seen.append((error.received, error.executed))

    service, request = make_streaming(func), uploading()
    service.received(request)
    await until(lambda: request.parts)
    request.upload(service, 0, 1, 2, 3)
    await until(lambda: seen)
    request.feed(service, {"rb-part": "error"})
    release.set()
    await until(lambda: request.settled)
    assert seen == [1, (1, True)]
    assert request.answer == [0, None]


@BOTH
async def test_a_body_that_is_no_array_is_an_error(func: Any) -> None:
    service, request = make_streaming(func), uploading()
    service.received(request)
    await until(lambda: request.parts)
    request.feed(service, {"rb-part": "items", "rb-index": 0}, Reply(b"\x01", "application/msgpack", None))
    await until(lambda: request.settled)
    assert request.end["rb-error-type"] == "rabibridge_core.errors.SerializationError"


@pytest.mark.parametrize("thread", [False, True])
async def test_the_caller_is_told_what_was_consumed(thread: bool) -> None:
    read = 0

    async def func(items: AsyncIterator[bytes]) -> int:
        nonlocal read
        async for _ in items:
            read += 1
        return read

    def sync(items: Iterator[bytes]) -> int:
        nonlocal read
        for _ in items:
            read += 1
        return read

    service, request = make_streaming(sync if thread else func), uploading()
    codec = Codec(compress_threshold=None)
    service.received(request)
    await until(lambda: request.parts)
    sent = 0

    def reported() -> int:
        credits = [part.headers or {} for part in request.parts if (part.headers or {})["rb-part"] == "credit"]
        return int(credits[-1]["rb-index"]) if credits else 0

    for size in [10] * 40 + [300_000] * 10 + [2_000_000] * 3:
        await until(lambda: sent - reported() < 16 and size * (sent - reported()) < 1_048_576)  # noqa: B023
        request.upload(service, sent, b"x" * size, codec=codec)
        sent += 1
    end(service, request, sent)
    await until(lambda: request.settled)
    assert request.answer == [0, 53]


@pytest.mark.parametrize("size", [1, 300_000])
async def test_a_caller_that_sends_more_than_its_window_is_refused(size: int) -> None:
    release = asyncio.Event()

    async def func(items: AsyncIterator[bytes]) -> int:
        await release.wait()
        return len([item async for item in items])

    service, request = make_streaming(func), uploading()
    service.received(request)
    await until(lambda: request.parts)
    codec = Codec(compress_threshold=None)
    for index in range(17):
        request.upload(service, index, b"x" * size, codec=codec)
    assert reader_of(service)._held <= 2**20 + 300_100
    release.set()
    await until(lambda: request.settled)
    assert "more than its window" in str(request.end["rb-error-message"])


@pytest.mark.parametrize("stop", [*STOPS, cancel_run])
@BOTH
async def test_a_function_that_waits_for_its_caller_ends_at_once(func: Any, stop: Any) -> None:
    service, request = make_streaming(func), uploading()
    service.received(request)
    await until(lambda: request.parts)
    request.upload(service, 0, 1)
    await until(lambda: not reader_of(service)._messages)
    await turns()
    await asyncio.sleep(0.01)
    await stop(service, request)
    await until(lambda: not service.active_requests)
    assert request.events == EVENTS[stop]
    if request.replies:
        assert request.end["rb-error"] == "stopped"


async def test_a_drained_upload_of_which_nothing_was_taken_is_given_back() -> None:
    service, request = make_streaming(collect), uploading()
    service.received(request)
    await until(lambda: request.parts)
    service.abort_drain()
    await service.stop(0.0)
    assert request.events == ["requeued"]


@pytest.mark.parametrize("thread", [False, True])
async def test_both_directions_at_once(thread: bool) -> None:
    async def func(items: AsyncIterator[int]) -> AsyncIterator[int]:
        async for item in items:
            yield item * 2
        for _ in range(1000):
            yield 0

    def sync(items: Iterator[int]) -> Iterator[int]:
        for item in items:
            yield item * 2
        yield from [0] * 1000

    service = make_streaming(sync if thread else func)
    request = StreamRequest((None,), upload="0", window="1,1")
    service.received(request)
    for index in range(10):
        await until(lambda: request.parts)
        request.upload(service, index, index)
        await turns()
    end(service, request, 10)
    while not request.settled:
        request.credit(service, len(request.messages))
        await asyncio.sleep(0)
    assert request.items == [*range(0, 20, 2), *[0] * 1000]
    assert request.end["rb-items"] == 1010


@pytest.mark.parametrize("thread", [False, True])
async def test_a_function_need_not_read_all_of_it(thread: bool) -> None:
    async def func(items: AsyncIterator[int]) -> int:
        return await anext(items)

    def sync(items: Iterator[int]) -> int:
        return next(items)

    service, request = make_streaming(sync if thread else func), uploading()
    service.received(request)
    await until(lambda: request.parts)
    request.upload(service, 0, 5, 6)
    await until(lambda: request.settled)
    assert request.answer == [0, 5]
    request.upload(service, 2, 7)
    end(service, request, 3)
    assert len(service._processor.sessions or ()) == 0


async def test_a_thread_that_reads_does_not_hold_the_loop() -> None:
    started = threading.Event()

    def func(items: Iterator[int]) -> int:
        started.set()
        return sum(items)

    service, request = make_streaming(func), uploading()
    service.received(request)
    await until(started.is_set)
    await until(lambda: request.parts)
    for index in range(100):
        request.upload(service, index, index)
        await until(lambda: not reader_of(service)._messages)
    end(service, request, 100)
    await until(lambda: request.settled)
    assert request.answer == [0, sum(range(100))]
