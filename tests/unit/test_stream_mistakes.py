"""What users get who mix up calls, streams and uploads: an error that says what to write instead."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import InvalidArgumentsError, RMQClient, SerializationError
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_testing import FakeBroker


async def add(left: int, right: int = 0) -> int:
    return left + right


async def optional(items: AsyncIterator[int] | None = None, *, more: list[int] | None = None) -> int:
    return 0


async def total(items: AsyncIterator[int], factors: list[int] | None = None) -> int:
    return sum([item async for item in items])


async def count(end: int) -> AsyncIterator[int]:
    for number in range(end):
        yield number


@pytest.fixture
def broker(fake_broker: FakeBroker) -> FakeBroker:
    for function in (add, optional, total, count):
        fake_broker.add_service(function)
    return fake_broker


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "text"),
    [
        ("add", (iter([1]),), {}, "the argument number 1 of a call of 'add' is an iterator, and the service cannot be"),
        ("add", (1,), {"right": iter([1])}, "the argument 'right' of a call of 'add' is an iterator"),
        ("optional", (iter([1]),), {}, r"annotated as AsyncIterator\[T\] \(in a def function, Iterator\[T\]\)"),
        (
            "total",
            ([1], iter([1])),
            {},
            r"the argument number 2 is an iterator, .* annotated as AsyncIterator\[T\]: 'i",
        ),
        ("count", (3,), {}, "the service 'count' streams its items, and has no single result: use client.stream"),
    ],
)
async def test_calls(broker: FakeBroker, name: str, args: Any, kwargs: Any, text: str) -> None:
    async with RMQClient() as client:
        with pytest.raises(InvalidArgumentsError, match=text):
            await client.call(name, *args, **kwargs)


async def test_streams(broker: FakeBroker) -> None:
    async with RMQClient() as client:
        with pytest.raises(InvalidArgumentsError, match="'add' returns one result, and gives no items"):
            [item async for item in client.stream("add", 1)]
        with pytest.raises(
            TypeError, match=r"count\(\) was called here, and gave a generator: .* client\.stream\(count"
        ):
            client.stream(count(3))  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
        with pytest.raises(TypeError, match=r"read them with client\.stream\(count, \.\.\.\)"):
            await client.call(count, 3)
        with pytest.raises(TypeError, match=r"read them with client\.stream\(count, \.\.\.\)"):
            client.map(count, [3])


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (lambda: iter([1]), r"client\.stream; anywhere else, give a list$"),
        (lambda: count(3), r"client\.stream; anywhere else, give a list$"),
        (lambda: range(3), "Give a list$"),
        (lambda: {"a": 1}.keys(), "Give a list$"),
        (lambda: object, r"'type' object\)$"),
    ],
)
async def test_values_that_cannot_travel(broker: FakeBroker, value: Any, hint: str) -> None:
    async with RMQClient() as client:
        with pytest.raises(SerializationError, match=r"args\[0\].*" + hint):
            await client.remote_call("add", (value(),))


async def test_a_coroutine_that_was_not_awaited(broker: FakeBroker) -> None:
    coroutine = add(1)
    async with RMQClient() as client:
        with pytest.raises(SerializationError, match=r"a value of type coroutine: .*\. Await it first$"):
            await client.call("add", coroutine)
    coroutine.close()


async def test_the_worker_logs_notifications_that_it_refuses(
    broker: FakeBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with RMQClient() as client:
        await client.notify("add", wrong=1)
        await until(lambda: "were refused" in caplog.text)
        await client.notify("count", 1)
        with pytest.raises(InvalidArgumentsError):
            await client.call("add", wrong=1)
    assert "service 'add': the arguments of a notification were refused: " in caplog.text
    assert "unexpected keyword argument 'wrong'" in caplog.text
