"""Streams on the serving side: what is sent, when, and how much before the caller has consumed it."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._codec.codec import Codec
from rabibridge_core._protocol.streams import GATHERED_BYTES
from tests.unit.scripted_requests import PATIENCE, turns, until
from tests.unit.stream_requests import StreamRequest, make_streaming

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


async def count(number: int) -> AsyncIterator[int]:
    for index in range(number):
        yield index


def count_in_thread(number: int) -> Iterator[int]:
    yield from range(number)


@pytest.mark.parametrize("func", [count, count_in_thread])
@pytest.mark.parametrize("number", [0, 1, 3, 10_000])
async def test_a_stream_of_items(func: Any, number: int) -> None:
    service, request = make_streaming(func), StreamRequest((number,))
    service.received(request)
    await until(lambda: request.settled)
    assert request.items == list(range(number))
    assert request.events == ["replied"]
    assert (request.answer, request.end["rb-items"]) == ([0, None], number)
    assert (service.active_requests, len(service._processor.sessions or ())) == (0, 0)


async def test_what_is_yielded_in_one_turn_leaves_in_one_message_without_an_open() -> None:
    async def func() -> AsyncIterator[int]:
        yield 1
        yield 2
        await asyncio.sleep(0.01)
        yield 3

    service, request = make_streaming(func), StreamRequest()
    service.received(request)
    await until(lambda: request.settled)
    assert request.messages == [[1, 2], [3]]
    assert request.kinds == ["items", "items"]
    first, second = (dict(part.headers or {}) for part in request.parts)
    assert first == {"rb-part": "items", "rb-index": 0, "rb-address": request.address}
    assert second == {"rb-part": "items", "rb-index": 2}


async def test_a_function_that_does_not_yield_at_once_says_that_it_has_begun() -> None:
    release = asyncio.Event()

    async def func() -> AsyncIterator[int]:
        await release.wait()
        yield 1

    service, request = make_streaming(func, idempotent=True), StreamRequest()
    service.received(request)
    await until(lambda: request.parts)
    assert dict(request.parts[0].headers or {}) == {
        "rb-part": "open", "rb-address": request.address, "rb-idempotent": True
    }  # fmt: skip
    release.set()
    await until(lambda: request.settled)
    assert (request.kinds, request.items) == (["open", "items"], [1])


@pytest.mark.parametrize("window", ["2,67108864", "1000,2500"])
@pytest.mark.parametrize("thread", [False, True])
async def test_no_more_is_sent_than_the_window_allows(window: str, thread: bool) -> None:
    yielded = 0

    def sync() -> Iterator[bytes]:
        nonlocal yielded
        for _ in range(1500):
            yielded += 1
            yield b"x" * 2000

    async def func() -> AsyncIterator[bytes]:
        for item in sync():
            await asyncio.sleep(0)
            yield item

    service = make_streaming(sync if thread else func, codec=Codec(compress_threshold=None))
    request = StreamRequest(window=window)
    service.received(request)
    consumed = 0
    while not request.settled:
        before = -1
        while yielded != before or len(request.parts) < consumed:  # it stands still
            before = yielded
            await turns(20)
            if thread:
                await asyncio.sleep(0.01)
        sent = [len(part.body) for part in request.parts if (part.headers or {})["rb-part"] == "items"]
        if not request.settled:
            messages, size = map(int, window.split(","))
            assert len(sent) - consumed <= messages
            assert sum(sent[consumed:]) - (sent[-1] if sent else 0) < size
            assert yielded * 2000 <= sum(sent) + 3 * GATHERED_BYTES + 4000
        if len(sent) > consumed:
            consumed += 1
            request.credit(service, consumed)
        await turns(2)
    assert len(request.items) == 1500


async def test_items_are_gathered_while_the_window_is_used_up_and_the_yield_waits_then() -> None:
    yielded = 0

    async def func() -> AsyncIterator[bytes]:
        nonlocal yielded
        while True:
            await asyncio.sleep(0)
            yielded += 1
            yield b"x" * 1000

    service, request = make_streaming(func), StreamRequest(window="1,1000000")
    fit = GATHERED_BYTES // 1003  # each takes three bytes more when it is encoded
    service.received(request)
    await until(lambda: yielded > fit)
    await turns(50)
    assert (len(request.messages[0]), yielded) == (1, 1 + fit + 1)
    request.credit(service, 1)
    await turns(50)
    assert [len(message) for message in request.messages] == [1, fit]
    service.cancelled(request.caller, request.correlation_id)
    await until(lambda: not service.active_requests)
    assert request.events == ["discarded"]


@pytest.mark.parametrize("consumed", [-1, 0, 2, 10**9, 2**63, True, "1", None, 1.0, b"1"])
async def test_credit_that_cannot_be_is_ignored(consumed: Any) -> None:
    async def func() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 70_000

    service, request = make_streaming(func), StreamRequest(window="1,1000000")
    service.received(request)
    await until(lambda: request.parts)
    request.credit(service, consumed)
    service.fed(
        b"another", request.correlation_id, request.parts[0]._replace(headers={"rb-part": "credit", "rb-index": 1})
    )
    service.fed(request.caller, b"another", request.parts[0]._replace(headers={"rb-part": "credit", "rb-index": 1}))
    request.feed(service, {})
    request.feed(service, {"rb-part": 7})
    request.feed(service, {"rb-part": "end", "rb-index": 0})
    request.feed(service, {"rb-part": "items", "rb-index": 0})
    await turns(20)
    assert len(request.parts) == 1
    request.credit(service, 1)
    await until(lambda: len(request.parts) == 2)
    request.credit(service, 1)  # a second time
    await turns(20)
    assert len(request.parts) == 2
    service.caller_gone(request.caller)
    await until(lambda: not service.active_requests)


async def test_the_end_needs_no_credit() -> None:
    async def func() -> AsyncIterator[int]:
        for index in range(10):
            await asyncio.sleep(0)
            yield index

    service, request = make_streaming(func), StreamRequest(window="1,1000000")
    service.received(request)
    await until(lambda: request.settled)
    assert (request.messages, request.end["rb-items"]) == ([[0], list(range(1, 10))], 10)


async def test_a_function_that_never_waits_does_not_starve_the_loop() -> None:
    given = 0

    async def func() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 1
            yield b"x"

    service, request = make_streaming(func), StreamRequest()
    service.received(request)
    most = consumed = 0
    while consumed <= 10:
        if len(request.parts) > consumed:
            consumed = len(request.parts)
            request.credit(service, consumed)
        before, began = given, time.thread_time()
        await asyncio.sleep(0)
        most = max(most, given - before)
        assert time.thread_time() - began < 1.0, "a turn takes some milliseconds of work"
    assert given > most, "it goes on in another turn"
    service.cancelled(request.caller, request.correlation_id)
    await until(lambda: not service.active_requests)


async def test_two_streams_do_not_share_credit() -> None:
    service = make_streaming(count)
    stuck, other = (
        StreamRequest((10**9,), window="1,1"),
        StreamRequest((50_000,), correlation_id=b"2", window="2,100000"),
    )
    for request in (stuck, other):
        service.received(request)
    while not other.settled:
        other.credit(service, len(other.parts))
        await asyncio.sleep(0)
    assert len(other.items) == 50_000
    assert not stuck.settled
    service.caller_gone(b"caller")
    await until(lambda: not service.active_requests)


async def test_a_thread_that_waits_blocks_no_other_thread_of_the_service() -> None:
    seen = threading.Event()

    def func(number: int) -> Iterator[bytes]:
        if number == 2:
            seen.set()
        for _ in range(number):
            yield b"x" * 100_000

    service = make_streaming(func, fetch_size=2)
    stuck, other = StreamRequest((1000,), window="1,1"), StreamRequest((2,), correlation_id=b"2")
    for request in (stuck, other):
        service.received(request)
    await until(lambda: other.settled)
    assert seen.wait(PATIENCE)
    service.cancelled(stuck.caller, stuck.correlation_id)
    await until(lambda: not service.active_requests)


async def test_many_functions_that_never_wait_share_the_loop() -> None:
    async def func() -> AsyncIterator[bytes]:
        while True:
            yield b"x"

    service = make_streaming(func)
    requests = [StreamRequest(correlation_id=b"%d" % number) for number in range(50)]
    for request in requests:
        service.received(request)
    await until(lambda: all(request.messages for request in requests))
    began = time.thread_time()  # which counts no time in which the machine stands still
    for _ in range(5):
        await asyncio.sleep(0)
    assert (time.thread_time() - began) / 5 < 1.0
    service.caller_gone(b"caller")
    await until(lambda: not service.active_requests)
