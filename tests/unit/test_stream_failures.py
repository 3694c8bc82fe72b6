"""How streams end on the serving side that fail, or run in threads; and what they leave behind."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._observability.call_context import current_call
from rabibridge_core.errors import ServiceError
from tests.unit.scripted_requests import PATIENCE, turns, until
from tests.unit.stream_requests import EVENTS, STOPS, StreamRequest, drain, make_streaming

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


setting: contextvars.ContextVar[str] = contextvars.ContextVar("setting", default="unset")


class Sold(ServiceError, code="stream-endings-sold"):
    what: str


async def test_errors_come_after_the_items_before_them() -> None:
    async def func(error: str) -> AsyncIterator[int]:
        yield 1
        yield 2
        if error == "declared":
            raise Sold(what="it")
        if error == "cancelled":
            raise asyncio.CancelledError
        raise ValueError("secret")

    for kind, types in (("declared", "Sold"), ("plain", "ValueError"), ("cancelled", "CancelledError")):
        service, request = make_streaming(func), StreamRequest((kind,))
        service.received(request)
        await until(lambda: request.settled)  # noqa: B023
        expected = [] if kind == "cancelled" else [1, 2]
        assert (request.items, request.end["rb-items"], request.end["rb-error"]) == (
            expected,
            len(expected),
            "execution",
        )
        assert str(request.end["rb-error-type"]).endswith(types)
        assert request.answer[0] == 1


@pytest.mark.parametrize("thread", [False, True])
async def test_an_item_that_cannot_be_encoded_ends_the_stream_and_closes_the_generator(thread: bool) -> None:
    closed = []

    def sync() -> Iterator[Any]:
        try:
            yield 1
            yield {"price": object()}
            raise AssertionError
        finally:
            closed.append(1)

    async def func() -> AsyncIterator[Any]:
        for item in sync():
            yield item

    service, request = make_streaming(sync if thread else func), StreamRequest()
    service.received(request)
    await until(lambda: request.settled)
    assert (request.items, request.end["rb-items"], request.end["rb-error"]) == ([1], 1, "result")
    assert "item 1: item.price: " in str(request.end["rb-error-message"])
    assert closed == [1] or not thread


async def test_an_item_that_the_broker_does_not_accept_ends_the_stream_at_once() -> None:
    from rabibridge_core.errors import ContentRejectedError

    cancelled = []

    async def func() -> AsyncIterator[int]:
        yield 1
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    service, request = make_streaming(func), StreamRequest()
    request.gate = gate = asyncio.get_running_loop().create_future()
    service.received(request)
    await until(lambda: request.parts)
    gate.set_exception(ContentRejectedError("too large"))
    await until(lambda: request.settled)
    assert (request.end["rb-error"], request.end["rb-error-message"], cancelled) == ("result", "too large", [1])


@pytest.mark.parametrize("stop", STOPS)
async def test_a_thread_that_waits_at_its_yield_ends_at_once(stop: Any) -> None:
    threads: list[Any] = []
    seen: list[type[BaseException]] = []

    def func() -> Iterator[bytes]:
        threads.append(threading.current_thread())
        try:
            while True:
                yield b"x" * 70_000
        except BaseException as error:
            seen.append(type(error))
            raise
        finally:
            threads.append(threading.current_thread())

    service = make_streaming(func, fetch_size=2)
    turn = 0
    for turn in range(20):
        request = StreamRequest(window="1,1", correlation_id=b"%d" % turn, caller=b"caller %d" % turn)
        service.received(request)
        await until(lambda: request.messages)  # noqa: B023
        began = monotonic()
        await stop(service, request)
        await until(lambda: not service.active_requests)
        assert monotonic() - began < PATIENCE / 2
        assert request.events == EVENTS[stop]
        if stop is drain:
            break
    assert set(seen) == {GeneratorExit}
    assert len(seen) == turn + 1
    assert all(entered is left for entered, left in zip(threads[::2], threads[1::2], strict=True))


async def test_a_thread_that_is_stopped_while_it_works_ends_at_its_next_yield() -> None:
    release, closed = threading.Event(), []

    def func() -> Iterator[int]:
        try:
            yield 1
            release.wait(PATIENCE)
            yield 2
        finally:
            closed.append(current_call().cancelled)

    service, request = make_streaming(func), StreamRequest()
    service.received(request)
    await until(lambda: request.parts)
    service.cancelled(request.caller, request.correlation_id)
    await turns()
    assert service.active_requests == 1
    release.set()
    await until(lambda: not service.active_requests)
    assert (closed, request.items, request.events) == ([True], [1], ["discarded"])


async def test_a_stream_that_waits_for_a_thread_is_dropped_there() -> None:
    release, ran = threading.Event(), []

    def func(number: int) -> Iterator[int]:
        ran.append(number)
        release.wait(PATIENCE)
        yield number

    service = make_streaming(func, fetch_size=1)
    first, second = StreamRequest((1,)), StreamRequest((2,), correlation_id=b"2")
    service.received(first)
    await until(lambda: ran)
    service.received(second)
    await turns()
    service.cancelled(second.caller, second.correlation_id)
    await until(lambda: second.settled)
    release.set()
    await until(lambda: first.settled)
    assert (ran, first.items, second.events) == ([1], [1], ["discarded"])


async def test_abandoned_streams_leave_nothing_behind() -> None:
    async def func() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 100
        except asyncio.CancelledError:
            return

    service = make_streaming(func)
    for number in range(300):
        request = StreamRequest(correlation_id=b"%d" % number, window="4,100000")
        service.received(request)
        await turns(3)
        service.cancelled(request.caller, request.correlation_id)
    await until(lambda: not service.active_requests)
    sessions = service._processor.sessions
    assert sessions is not None
    assert (len(sessions), len(sessions._by_id)) == (0, 0)
    last = StreamRequest(correlation_id=b"last")
    service.received(last)
    await until(lambda: len(last.parts) > 10)
    service.caller_gone(last.caller)
    await until(lambda: not service.active_requests)


async def test_a_cancelled_task_of_the_loop_gives_the_stream_back() -> None:
    async def func() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 70_000

    service, request = make_streaming(func), StreamRequest(window="1,1")
    service._maintenance = asyncio.create_task(asyncio.sleep(PATIENCE))
    service.received(request)
    await until(lambda: request.parts)
    (active,) = service._active
    assert active.task is not None
    service._maintenance.cancel()
    active.task.cancel()  # as asyncio.run() does when the program ends
    await until(lambda: not service.active_requests)
    assert request.end["rb-error"] == "stopped"
