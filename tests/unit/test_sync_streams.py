"""Streams and uploads of the synchronous client, on the in-memory broker: plain iterators with the same early end."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import threading
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from rabibridge import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    RemoteExecutionError,
    SerializationError,
    StreamError,
)
from rabibridge.sync import Client
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from rabibridge_testing import FakeBroker

pytestmark = pytest.mark.usefixtures("clean_place")

ended = threading.Event()


async def count(end: int) -> AsyncIterator[int]:
    ended.clear()
    try:
        for number in range(end):
            yield number
    finally:
        ended.set()


def rows(end: int) -> Iterator[str]:
    for number in range(end):
        yield f"row {number}"


async def wrong() -> AsyncIterator[int]:
    yield 1
    yield "two"  # type: ignore[misc]  # what is tested


async def silent() -> AsyncIterator[int]:
    yield 1
    await asyncio.Event().wait()


async def fails() -> AsyncIterator[int]:
    yield 1
    raise LookupError("no more")


async def total(items: AsyncIterator[int], factor: int = 1) -> int:
    return sum([item async for item in items]) * factor


async def first(items: AsyncIterator[int]) -> int:
    async for item in items:
        return item
    return -1


async def double(items: AsyncIterator[int]) -> AsyncIterator[int]:
    async for item in items:
        yield 2 * item


class Reports(Protocol):
    def year(self, number: int) -> Iterator[int]: ...

    def total(self) -> int: ...


async def year(number: int) -> AsyncIterator[int]:
    yield number


@pytest.fixture
def client(fake_broker: FakeBroker) -> Iterator[Client]:
    for function in (count, rows, wrong, silent, fails, total, first, double):
        fake_broker.add_service(function)
    fake_broker.add_service(year, name="Reports.year")
    with Client() as client:
        yield client


def test_items_come_in_order(client: Client) -> None:
    stream = client.stream(count, 10_000)
    assert list(stream) == list(range(10_000))
    assert stream.received == 10_000
    assert list(client.stream(rows, 3)) == ["row 0", "row 1", "row 2"]
    assert list(client.options(timeout=PATIENCE).stream("rows", 1)) == ["row 0"]
    assert list(stream) == []
    assert client.pending == 0


@pytest.mark.parametrize("how", ["break", "close", "with", "garbage", "exception"])
def test_leaving_early_stops_the_function(client: Client, how: str) -> None:
    if how == "break":
        for item in client.stream(count, 10**9):
            if item > 10:
                break
    elif how == "close":
        stream = client.stream(count, 10**9)
        assert next(stream) == 0
        stream.close()
        stream.close()
        assert list(stream) == []
    elif how == "with":
        with client.stream(count, 10**9) as stream:
            assert next(stream) == 0
    elif how == "garbage":
        holder: list[Any] = [client.stream(count, 10**9)]
        holder.append(holder)
        assert next(holder[0]) == 0
        del holder
        gc.collect()
    else:
        with pytest.raises(KeyError):
            _read_and_fail(client)
    assert ended.wait(PATIENCE)


def _read_and_fail(client: Client) -> None:
    for _ in client.stream(count, 10**9):
        raise KeyError


def test_an_interrupted_thread_ends_it(client: Client) -> None:
    stream = client.stream(silent)
    assert next(stream) == 1
    seen: list[BaseException] = []

    def wait() -> None:
        try:
            next(stream)
        except StopIteration as error:
            seen.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    stream.close()
    thread.join(PATIENCE)
    assert isinstance(seen[0], StopIteration)
    assert client.pending == 0


def test_errors_say_how_far_it_came(client: Client) -> None:
    stream = client.stream(fails)
    assert next(stream) == 1
    for _ in range(2):
        with pytest.raises(RemoteExecutionError, match="no more") as caught:
            next(stream)
        assert caught.value.received == 1
    stream = client.options(idle_timeout=0.1).stream(silent)
    assert next(stream) == 1
    with pytest.raises(CallTimeoutError, match="idle_timeout") as late:
        next(stream)
    assert late.value.received == 1
    stream = client.stream(wrong)
    assert next(stream) == 1
    with pytest.raises(SerializationError, match="the item does not fit") as misfit:
        next(stream)
    assert misfit.value.received == 1


def test_stubs_and_proxies_give_streams(client: Client) -> None:
    stub = client.stub(count, timeout=PATIENCE)
    assert list(stub(3)) == [0, 1, 2]
    assert list(stub.options(idle_timeout=5)(2)) == [0, 1]
    assert copy.deepcopy(stub) is stub
    assert list(client.stream(stub, 1)) == [0]
    assert stub.__name__ == "count"
    assert list(client.service(Reports).year(2024)) == [2024]
    with pytest.raises(TypeError, match=r"client\.stream\(count"):
        client.call(count, 3)
    with pytest.raises(TypeError, match=r"Use client\.call"):
        client.stream(total, [1])  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]


def test_a_stub_is_pickled_without_its_client(client: Client) -> None:
    for stub in (client.stub(count, timeout=PATIENCE), client.service(Reports).year):
        arrived = pickle.loads(pickle.dumps(stub))
        with pytest.raises(ConfigurationError, match=r"has no client, as it was unpickled: give it one by stub\.bind"):
            arrived(1)
        assert repr(arrived) == f"<SyncStreamStub of {stub.__name__!r} by no client>"
        assert list(arrived.bind(client)(1)) == list(stub(1))
    assert "timeout=30" in repr(pickle.loads(pickle.dumps(client.stub(count, timeout=30))).bind(client))
    with pytest.raises(SerializationError, match="the item does not fit"):
        list(pickle.loads(pickle.dumps(client.stub(wrong))).bind(client)())
    assert list(pickle.loads(pickle.dumps(client.stub(wrong, validate=False))).bind(client)()) == [1, "two"]


def test_uploads(client: Client) -> None:
    drawn_in: set[int] = set()

    def numbers() -> Iterator[int]:
        for number in range(5000):
            drawn_in.add(threading.get_ident())
            yield number

    assert client.call("total", numbers()) == sum(range(5000))
    assert drawn_in == {threading.get_ident()}
    assert client.call("total", iter([1, 2, 3]), factor=2) == 12
    assert client.call("total", map(int, "123")) == 6
    assert client.call("total", iter([])) == 0
    assert list(client.stream("double", iter(range(3000)))) == [2 * number for number in range(3000)]
    assert client.pending == 0


def test_an_upload_that_fails_or_is_not_read_to_its_end(client: Client) -> None:
    closed = threading.Event()

    def failing() -> Iterator[int]:
        try:
            yield 1
            raise ValueError("the disk is gone")
        finally:
            closed.set()

    with pytest.raises(ValueError, match="the disk is gone"):
        client.call("total", failing())
    assert closed.is_set()
    closed.clear()

    def endless() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            closed.set()

    assert client.call("first", endless()) == 0
    assert closed.is_set()
    with pytest.raises(ValueError, match="the disk is gone"):
        list(client.stream("double", failing()))
    with client.stream("double", endless()) as stream:
        assert [next(stream), next(stream)] == [0, 2]


def test_it_refuses_a_thread_with_a_loop_and_a_fork(client: Client) -> None:
    async def inside() -> None:
        next(client.stream(count, 1))

    with pytest.raises(ConfigurationError, match="event loop"):
        asyncio.run(inside())
    stream = client.stream(count, 1000)
    stream._connection.pid += 1
    with pytest.raises(ConnectionLostError, match="forked from"):
        next(stream)
    stream._connection.pid = os.getpid()


def test_a_closed_client(client: Client) -> None:
    stream = client.stream(silent)
    assert next(stream) == 1
    client.close()
    with pytest.raises((ConnectionLostError, StreamError)):
        next(stream)
    stream.close()
