"""Checked by mypy and pyright, both in strict mode, never run: streams and uploads."""

# pyright: strict

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, assert_type

from rabibridge import RMQClient, Stream, StreamStub, register_call
from rabibridge_core.rpc import SyncStream, SyncStreamStub

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Generator, Iterable, Iterator

    from rabibridge.sync import Client


@register_call(resumable=True)
async def report(year: int, *, start_at: int = 0) -> AsyncIterator[str]:
    for number in range(start_at, year):
        yield str(number)


@register_call
def rows(table: str) -> Iterator[dict[str, int]]:
    yield {table: 1}


async def numbers() -> AsyncGenerator[int]:
    yield 1


def later() -> AsyncIterable[bytes]: ...  # type: ignore[empty-body] # pyright: ignore[reportReturnType]


def some() -> Generator[float]:
    yield 1.0


def any_of_them() -> Iterable[int]:
    yield 1


async def store(items: AsyncIterator[int], table: str) -> int:
    return sum([item async for item in items]) + len(table)


async def double(items: AsyncIterator[int]) -> AsyncIterator[float]:
    async for item in items:
        yield 2.0 * item


class Reports(Protocol):
    def year(self, number: int) -> AsyncIterator[str]: ...


async def streams_have_the_types_of_the_items(client: RMQClient) -> None:
    stream = client.options(timeout=60, idle_timeout=5.0).stream(report, 2024)
    assert_type(stream, Stream[str])
    async for row in stream:
        assert_type(row, str)
    assert_type(stream.received, int)
    assert_type(await anext(stream), str)
    async with client.stream(rows, "a") as opened:
        assert_type(opened, Stream[dict[str, int]])
    await stream.aclose()
    assert_type(client.stream(numbers), Stream[int])
    assert_type(client.stream(later), Stream[bytes])
    assert_type(client.stream(some), Stream[float])
    assert_type(client.stream(any_of_them), Stream[int])
    assert_type(client.stream("report", 2024), Stream[Any])
    assert_type([row async for row in client.stream(report, 1)], list[str])
    wider: Stream[object] = client.stream(report, 1)
    iterator: AsyncIterator[str] = client.stream(report, 1)
    del wider, iterator


async def stubs_and_proxies(client: RMQClient) -> None:
    stub = client.stub(report, idle_timeout=5)
    assert_type(await anext(stub(2024)), str)
    assert_type(stub.options(timeout=1)(2024), Stream[str])
    taken: StreamStub[..., str] = stub
    assert_type(client.stub(rows)("a"), Stream[dict[str, int]])
    async for row in client.service(Reports).year(2024):
        assert_type(row, str)
    del taken


async def uploads(client: RMQClient) -> None:
    assert_type(await client.call(store, numbers(), "t"), int)
    assert_type(await client.call(store, client.stream(numbers), "t"), int)
    assert_type(client.stream(double, numbers()), Stream[float])


def synchronous_clients(client: Client) -> None:
    stream = client.options(idle_timeout=5).stream(report, 2024)
    assert_type(stream, SyncStream[str])
    assert_type(next(stream), str)
    assert_type(list(client.stream(rows, "a")), list[dict[str, int]])
    assert_type(client.stub(report)(2024), SyncStream[str])
    taken: SyncStreamStub[..., str] = client.stub(report)
    assert_type(client.stream("report"), SyncStream[Any])
    iterator: Iterator[str] = client.stream(report, 1)
    with stream as opened:
        assert_type(opened.received, int)
    stream.close()
    del taken, iterator


async def wrong_uses_are_errors(client: RMQClient, sync: Client) -> None:
    client.stream(report)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    client.stream(report, "x")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    client.stream(store, numbers(), "t")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    client.stream(report, 1, timeout=2)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    await client.stream(report, 1)  # type: ignore[misc] # pyright: ignore[reportGeneralTypeIssues]
    await client.call(store, [1], "t")  # type: ignore[call-overload] # pyright: ignore[reportCallIssue, reportArgumentType]
    for _ in client.stream(report, 1):  # type: ignore[attr-defined] # pyright: ignore[reportGeneralTypeIssues]
        pass
    sync.stream(report)  # type: ignore[call-overload] # pyright: ignore[reportCallIssue]
    client.options(idle_timeout="5")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
