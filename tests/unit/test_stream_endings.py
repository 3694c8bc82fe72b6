"""How streams end on the serving side: in one task, with everything cleaned up, whatever ends them."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from rabibridge_core._observability.call_context import current_call
from tests.unit.scripted_requests import PATIENCE, turns, until
from tests.unit.stream_requests import EVENTS, STOPS, StreamRequest, cancel, drain, expire, make_streaming

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


setting: contextvars.ContextVar[str] = contextvars.ContextVar("setting", default="unset")


@pytest.mark.parametrize("window", ["1,1", "1000,67108864"], ids=["at its yield", "awaiting"])
@pytest.mark.parametrize("stop", STOPS)
async def test_a_generator_is_closed_in_the_task_that_entered_it(
    stop: Any, window: str, caplog: pytest.LogCaptureFixture
) -> None:
    tasks: list[Any] = []
    seen: list[type[BaseException]] = []

    async def func() -> AsyncIterator[bytes]:
        tasks.append(asyncio.current_task())
        token = setting.set("mine")
        try:
            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(PATIENCE))
                with anyio.move_on_after(PATIENCE):
                    while True:
                        await asyncio.sleep(0 if window == "1,1" else 0.001)
                        assert setting.get() == "mine"
                        yield b"x" * 70_000
        except BaseException as error:
            seen.append(type(error))
            raise
        finally:
            await asyncio.sleep(0)
            tasks.append(asyncio.current_task())
            setting.reset(token)
            current_call()

    service, request = make_streaming(func), StreamRequest(window=window)
    service.received(request)
    await until(lambda: request.messages)
    await turns(50)
    await stop(service, request)
    await until(lambda: not service.active_requests)
    assert seen == [asyncio.CancelledError]
    assert len(tasks) == 2
    assert tasks[0] is tasks[1]
    assert request.events == EVENTS[stop]
    assert len(service._processor.sessions or ()) == 0
    if stop is drain:
        assert (request.end["rb-error"], request.end["rb-items"]) == ("stopped", len(request.items))
    assert [record.message for record in caplog.records if "never" in record.message or "Error" in record.message] == []


@pytest.mark.parametrize("stop", STOPS)
async def test_a_generator_that_was_not_entered_is_not_run(stop: Any) -> None:
    ran = []

    async def func() -> AsyncIterator[int]:
        ran.append(1)
        yield 1

    service, request = make_streaming(func), StreamRequest()
    service.received(request)
    await stop(service, request)
    await until(lambda: not service.active_requests)
    assert ran == []
    assert request.events == (["requeued"] if stop is drain else EVENTS[stop])
    assert request.parts == []


async def test_a_timeout_of_the_function_around_its_yields_ends_in_the_function() -> None:
    caught = []

    async def func() -> AsyncIterator[Any]:
        try:
            async with asyncio.timeout(0.05):
                while True:
                    yield b"x" * 70_000
        except TimeoutError:
            caught.append(asyncio.current_task())
        with anyio.move_on_after(0.05) as scope:
            while True:
                yield b"x" * 70_000
        yield scope.cancelled_caught

    service, request = make_streaming(func), StreamRequest(window="1,1")
    service.received(request)
    await until(lambda: caught)
    await asyncio.sleep(0.1)
    while not request.settled:
        request.credit(service, len(request.parts))
        await asyncio.sleep(0.001)
    assert request.items[-1] is True
    assert (request.answer, request.end["rb-items"]) == ([0, None], len(request.items))


@pytest.mark.parametrize("stop", [cancel, expire, drain])
async def test_what_is_yielded_after_the_cancellation_is_dropped(stop: Any) -> None:
    after = []

    async def func() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 70_000
        except asyncio.CancelledError:
            after.append("cancelled")
        try:
            yield b"after"
            after.append("resumed")
        finally:
            after.append("closed")

    service, request = make_streaming(func), StreamRequest(window="1,1")
    service.received(request)
    await until(lambda: request.parts)
    await stop(service, request)
    await until(lambda: not service.active_requests)
    assert after == ["cancelled", "closed"]
    assert (request.events, len(request.parts)) == (EVENTS[stop], 1)


async def test_a_function_that_swallows_the_cancellation_and_returns_does_not_complete_its_stream() -> None:
    async def func() -> AsyncIterator[int]:
        yield 1
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            return

    for stop in (cancel, expire, drain):
        service, request = make_streaming(func), StreamRequest()
        service.received(request)
        await until(lambda: request.parts)  # noqa: B023
        await stop(service, request)
        await until(lambda: not service.active_requests)  # noqa: B023
        assert request.events == EVENTS[stop]
        if stop is drain:
            assert request.end["rb-error"] == "stopped"


async def test_a_drained_stream_that_has_sent_nothing_is_given_back() -> None:
    async def func() -> AsyncIterator[int]:
        await asyncio.sleep(PATIENCE)
        yield 1

    service, request = make_streaming(func), StreamRequest()
    service.received(request)
    await until(lambda: request.kinds == ["open"])
    await service.stop(0.0)
    assert request.events == ["requeued"]
