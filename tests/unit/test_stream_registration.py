"""What is registered of functions that stream or are fed, and resumable ones."""

from __future__ import annotations

import typing
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator
from dataclasses import replace
from typing import Annotated, Any

import pytest

from rabibridge_core import Depends, RegistrationError, register_call
from rabibridge_core._server.stream_sessions import FILLED
from rabibridge_core._services.injection import injections_of
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.marks import schema_of
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import InvalidArgumentsError
from tests.support.waiting import soon
from tests.unit.provider_support import asynchronous, events, served, synchronous
from tests.unit.scripted_requests import until
from tests.unit.stream_requests import StreamRequest, make_streaming


def uploads(func: Any) -> tuple[str, ...]:
    schema = ServiceSchema.of(func, ServiceLimits(), "name")
    assert schema.queue.streams == bool(schema.uploads or schema.streams)
    return schema.uploads


def test_arguments_that_are_annotated_as_iterators_can_be_fed() -> None:
    async def on_loop(
        a: AsyncIterator[int],
        b: typing.AsyncIterable[int],
        c: AsyncGenerator[int, None],
        d: AsyncIterable[int] | None,
        e: Iterator[int],
        f: list[AsyncIterator[int]],
        *g: AsyncIterator[int],
        h: AsyncIterator,  # type: ignore[type-arg]
        i: Any = None,
        j: Any = Depends(asynchronous),
        k: Any = None,
    ) -> None: ...

    def in_thread(
        a: AsyncIterator[int], b: Iterator[int], c: Iterable[int], d: Generator[int, None, None], e: list[int]
    ) -> None: ...

    on_loop.__annotations__["a"] = AsyncIterator[int]
    on_loop.__annotations__["h"] = AsyncIterator
    on_loop.__annotations__["j"] = AsyncIterator[int]
    on_loop.__annotations__["k"] = Annotated[AsyncIterator[int], "note"]
    assert uploads(on_loop) == ("a", "b", "c", "h", "k")
    assert uploads(in_thread) == ("b", "c", "d")
    assert uploads(len) == ()


def test_a_resumable_function_needs_start_at() -> None:
    async def fine(year: int, *, start_at: int) -> AsyncIterator[int]:
        yield start_at

    async def without(year: int) -> AsyncIterator[int]:
        yield year

    async def plain(start_at: int) -> int:
        return start_at

    assert schema_of(register_call(resumable=True)(fine), ServiceLimits()).resumable
    with pytest.raises(RegistrationError, match="start_at: int"):
        register_call(resumable=True)(without)
    with pytest.raises(RegistrationError, match="no generator function"):
        register_call(resumable=True)(plain)
    with pytest.raises(RegistrationError, match="at-most-once"):
        register_call(resumable=True, delivery="at-most-once")(fine)
    with pytest.raises(RegistrationError, match="resumable is 1"):
        register_call(resumable=1)(fine)  # type: ignore[call-overload] # pyright: ignore
    schema = ServiceSchema.of(fine, ServiceLimits(resumable=True))
    with pytest.raises(RegistrationError, match="at-most-once"):
        replace(schema, delivery="at-most-once").with_limits()


def test_start_at_is_hidden_and_comes_last() -> None:
    async def fine(year: int, *, start_at: int) -> AsyncIterator[int]:
        yield start_at

    async def first(start_at: int, year: int) -> AsyncIterator[int]:
        yield start_at

    injections = injections_of(fine, filled=FILLED)
    assert injections is not None
    assert list(injections.signature.parameters) == ["year"]
    assert injections_of(fine) is None
    with pytest.raises(RegistrationError, match="put those last"):
        injections_of(first, filled=FILLED)


async def on_loop(year: int, *, start_at: int) -> AsyncIterator[int]:
    for index in range(start_at, year):
        yield index


def in_thread(year: int, *, start_at: int) -> Iterator[int]:
    yield from range(start_at, year)


@pytest.mark.parametrize("validate", [False, True])
@pytest.mark.parametrize("func", [on_loop, in_thread])
async def test_a_resumed_stream_goes_on_with_its_index(func: Any, validate: bool) -> None:
    service = make_streaming(func, resumable=True, validate=validate)
    for start, expected in ((None, 5), (0, 5), (3, 2), (5, 0)):
        request = StreamRequest((5,), start=start)
        service.received(request)
        await until(lambda: request.settled)  # noqa: B023
        assert request.items == list(range(5 - expected, 5))
        assert request.end["rb-items"] == 5
        assert all((part.headers or {})["rb-resumable"] is True for part in request.parts[:1])


@pytest.mark.parametrize("start", [-1, "3", True, 1.5])
async def test_a_malformed_start_is_refused(start: Any) -> None:
    service, request = make_streaming(on_loop, resumable=True), StreamRequest((5,), start=start)
    service.received(request)
    await until(lambda: request.settled)
    assert request.end["rb-error"] == "request"


async def test_what_cannot_be_is_refused_before_anything_runs() -> None:
    async def func(number: int) -> AsyncIterator[int]:
        raise AssertionError
        yield

    cases: list[tuple[StreamRequest, str]] = [
        (StreamRequest((1,), start=3), "arguments"),
        (StreamRequest((1,), window="many"), "request"),
        (StreamRequest((1,), window="0,0"), "request"),
        (StreamRequest((1, 2)), "arguments"),
        (StreamRequest(("x",)), "arguments"),
        (StreamRequest((1,), headers={"rb-key": "mine"}), "arguments"),
        (StreamRequest((1,), upload="0"), "arguments"),
    ]
    nowhere = StreamRequest((1,))
    nowhere.address = ""
    for request, kind in [*cases, (nowhere, "request")]:
        service = make_streaming(func, validate=True)
        service.received(request)
        await until(lambda: request.settled)  # noqa: B023
        assert (request.end["rb-error"], request.parts) == (kind, [])


async def test_a_learned_key_of_a_stream_is_ignored() -> None:
    service = make_streaming(on_loop, resumable=True, idempotent=True)
    for number in range(2):
        request = StreamRequest((2,), correlation_id=b"%d" % number, headers={"rb-key": "k", "rb-key-learned": True})
        service.received(request)
        await until(lambda: request.settled)  # noqa: B023
        assert request.items == [0, 1]


@pytest.mark.parametrize("thread", [False, True])
async def test_providers_live_as_long_as_the_stream(thread: bool) -> None:
    async def func(number: int, a: str = Depends(asynchronous), b: str = Depends(synchronous)) -> AsyncIterator[str]:
        for _ in range(number):
            events.append("step")
            yield a + b

    def sync(number: int, a: str = Depends(asynchronous), b: str = Depends(synchronous)) -> Iterator[str]:
        for _ in range(number):
            events.append("step")
            yield a + b

    events.clear()
    service, request = make_streaming(sync if thread else func, validate=True), StreamRequest(("2",))
    service.received(request)
    await until(lambda: request.settled)
    assert request.items == ["asyncsync"] * 2
    assert events == ["enter async", "enter sync", "step", "step", "leave sync", "leave async"]
    events.clear()
    stopped = StreamRequest((10**9,), window="1,1", correlation_id=b"2")
    service.received(stopped)
    await until(lambda: stopped.messages)
    service.cancelled(stopped.caller, stopped.correlation_id)
    await until(lambda: not service.active_requests)
    assert events[-1] == "leave async"
    assert "leave sync" in events
    assert stopped.events == ["discarded"]
    events.clear()
    refused = StreamRequest(("x",), correlation_id=b"3")
    service.received(refused)
    await until(lambda: refused.settled)
    assert (refused.end["rb-error"], events) == ("arguments", [])


async def test_a_plain_call_of_a_service_that_streams_is_refused() -> None:
    async with served(on_loop, resumable=True) as (_, client):
        with pytest.raises(InvalidArgumentsError, match=r"client.stream") as found:
            await soon(client.remote_call("on_loop", (1,)))
        assert found.value.executed is False
