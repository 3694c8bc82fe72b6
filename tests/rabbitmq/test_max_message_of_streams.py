"""Items that are larger than the broker accepts end their own stream or upload alone, on both sides."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from rabibridge import ContentRejectedError, RemoteExecutionError, StreamError
from rabibridge_core.transport import ConnectionState
from tests.rabbitmq.test_max_message import limit
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.rabbitmq.support import Stage

__all__ = ["limit"]

_ABOVE_ONE_FRAME = 200_000
_BELOW_ONE_FRAME = 100_000


@pytest.mark.parametrize("size", [_ABOVE_ONE_FRAME, _BELOW_ONE_FRAME])
async def test_an_item_of_a_stream_above_the_limit(
    stage: Stage, limit: Callable[[int], None], caplog: pytest.LogCaptureFixture, size: int
) -> None:
    ends: list[int] = []

    async def make(before: int, last: int) -> AsyncIterator[bytes]:
        try:
            for _ in range(before):
                yield os.urandom(1000)
            yield os.urandom(last)
            if last > size:
                await asyncio.Event().wait()
        finally:
            ends.append(before)

    limit(size)
    name = await stage.serve(make)
    client = await stage.client()
    beside = client.stream(name, 500, 10)
    if size < _ABOVE_ONE_FRAME:  # what takes one frame is sent without asking, and the broker closes the channel for it
        beside = client.stream(name, 0, 10)
    assert len(await soon(anext(beside))) == (1000 if size >= _ABOVE_ONE_FRAME else 10)
    for before in (0, 5):
        stream = client.stream(name, before, size + 1)
        for _ in range(before):
            assert len(await soon(anext(stream))) == 1000
        with pytest.raises(RemoteExecutionError, match=f"accepts at most {size} ") as caught:
            await soon(anext(stream))
        assert caught.value.received == before
        assert caught.value.error_type == "rabibridge_core.errors.ContentRejectedError"
        await until(lambda: before in ends)  # noqa: B023 - awaited at once
    assert [len(item) async for item in client.stream(name, 2, size - 200)] == [1000, 1000, size - 200]
    assert len([item async for item in beside]) == (500 if size >= _ABOVE_ONE_FRAME else 0)
    assert size < _ABOVE_ONE_FRAME or "redelivered" not in caplog.text


async def test_an_item_of_an_upload_above_the_limit(stage: Stage, limit: Callable[[int], None]) -> None:
    size = _ABOVE_ONE_FRAME
    seen: list[BaseException] = []

    async def store(items: AsyncIterator[bytes]) -> int:
        count = 0
        try:
            async for _ in items:
                count += 1
        except BaseException as error:
            seen.append(error)
            raise
        return count

    async def source(before: int, last: int) -> AsyncIterator[bytes]:
        for _ in range(before):
            yield os.urandom(1000)
        yield os.urandom(last)

    limit(size)
    name = await stage.serve(store)
    client = await stage.client()
    for before in (0, 5):
        with pytest.raises(ContentRejectedError, match=f"accepts at most {size} "):
            await soon(client.call(name, source(before, size + 1)))
        await until(lambda: len(seen) == 1 + (before > 0))  # noqa: B023 - awaited at once
        assert await soon(client.call(name, source(3, size - 200))) == 4
    assert isinstance(seen[0], asyncio.CancelledError), "its caller was gone with the channel"
    assert isinstance(seen[1], StreamError), "its caller knew the limit"
    assert client.state is ConnectionState.READY


async def test_small_items_that_are_gathered_above_the_limit(stage: Stage, limit: Callable[[int], None]) -> None:
    size, count = 20_000, 500

    async def numbers(items: AsyncIterator[bytes]) -> list[int]:
        return [int.from_bytes(item[:2], "big") async for item in items]

    def source() -> Iterator[bytes]:
        return (number.to_bytes(2, "big") + os.urandom(200) for number in range(count))

    limit(size)
    name = await stage.serve(numbers)
    client = await stage.client()
    with pytest.raises(ContentRejectedError, match=f"accepts at most {size} "):
        await soon(client.call(name, source()))
    for _ in range(2):
        assert await soon(client.call(name, source())) == list(range(count)), "the limit is known now"
