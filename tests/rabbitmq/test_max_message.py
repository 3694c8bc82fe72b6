"""Bodies that are larger than the broker accepts end their own call alone, and the limit is learned."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from rabibridge import ConnectionLostError, ContentRejectedError, RemoteExecutionError
from rabibridge_core.transport import ConnectionState
from tests.rabbitmq.support import until_waiting
from tests.support.message_limit import message_size_limits
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.rabbitmq.support import Stage
    from tools.broker import Broker

_ABOVE_ONE_FRAME = 200_000
_BELOW_ONE_FRAME = 50_000


@pytest.fixture
def limit(governed: Broker) -> Iterator[Callable[[int], None]]:
    """Limit the bodies that channels accept from now on, in bytes, until the test is over."""

    with message_size_limits(governed) as set_limit:
        yield set_limit


@pytest.mark.parametrize("idempotent", [False, True])
@pytest.mark.parametrize("size", [_ABOVE_ONE_FRAME, _BELOW_ONE_FRAME])
async def test_a_request_above_the_limit_ends_its_own_call(
    stage: Stage, limit: Callable[[int], None], caplog: pytest.LogCaptureFixture, size: int, idempotent: bool
) -> None:
    async def length(body: bytes) -> int:
        return len(body)

    limit(size)
    name = await stage.serve(length)
    client = await stage.client()
    assert await soon(client.remote_call(name, (b"x",))) == 1
    too_large = os.urandom(size + 1)
    for _ in range(3):
        with pytest.raises(ContentRejectedError, match=f"accepts at most {size} "):
            await soon(client.remote_call(name, (too_large,), idempotent=idempotent))
        assert await soon(client.remote_call(name, (b"abc",))) == 3
    assert await soon(client.remote_call(name, (os.urandom(size - 100),))) == size - 100
    assert "reconnecting" not in caplog.text
    assert client.state is ConnectionState.READY


async def test_calls_beside_it_are_lost_with_its_channel_or_sent_again(
    stage: Stage, limit: Callable[[int], None]
) -> None:
    async def length(body: bytes) -> int:
        return len(body)

    limit(_ABOVE_ONE_FRAME)
    name = await stage.serve(length)
    client = await stage.client()
    calls = [
        client.remote_call(name, (os.urandom(_ABOVE_ONE_FRAME),)),
        client.remote_call(name, (b"ab",)),
        client.remote_call(name, (b"abc",), idempotent=True),
    ]
    rejected, lost, again = await soon(asyncio.gather(*calls, return_exceptions=True))
    assert isinstance(rejected, ContentRejectedError)
    assert isinstance(lost, ConnectionLostError)
    assert again == 3


@pytest.mark.parametrize("delivery", ["at-least-once", "at-most-once"])
async def test_a_result_above_the_limit_is_one_failure_after_one_run(
    stage: Stage, limit: Callable[[int], None], caplog: pytest.LogCaptureFixture, delivery: str
) -> None:
    ran: list[int] = []
    gate = asyncio.Event()

    async def make(size: int) -> bytes:
        ran.append(size)
        if not size:
            await gate.wait()
        return os.urandom(size)

    limit(_ABOVE_ONE_FRAME)
    name = await stage.serve(make, delivery=delivery)
    client = await stage.client()
    held = asyncio.create_task(client.remote_call(name, (0,)))
    for _ in range(2):
        with pytest.raises(RemoteExecutionError, match=f"accepts at most {_ABOVE_ONE_FRAME} ") as caught:
            await soon(client.remote_call(name, (_ABOVE_ONE_FRAME + 1,)))
        assert caught.value.executed is True
        assert caught.value.error_type == "rabibridge_core.errors.ContentRejectedError"
    assert len(await soon(client.remote_call(name, (_ABOVE_ONE_FRAME - 100,)))) == _ABOVE_ONE_FRAME - 100
    gate.set()
    assert await soon(held) == b""
    assert sorted(ran) == [0, _ABOVE_ONE_FRAME - 100, _ABOVE_ONE_FRAME + 1, _ABOVE_ONE_FRAME + 1]
    assert "redelivered" not in caplog.text
    assert "reopening" not in caplog.text


async def test_large_results_below_the_limit_arrive_and_cost_no_channel(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    async def make(size: int) -> bytes:
        return os.urandom(size)

    name = await stage.serve(make)
    client = await stage.client()
    for sizes in ([200_000, 900_000, 400_000], [3_000_000, 3_000_000, 100]):
        results = await soon(asyncio.gather(*(client.remote_call(name, (size,)) for size in sizes)))
        assert [len(result) for result in results] == sizes
    assert "reopening" not in caplog.text


async def test_a_result_below_one_frame_and_above_the_limit_fails_too(
    stage: Stage, limit: Callable[[int], None]
) -> None:
    async def make(size: int) -> bytes:
        return os.urandom(size)

    limit(_BELOW_ONE_FRAME)
    name = await stage.serve(make)
    client = await stage.client()
    for _ in range(2):
        with pytest.raises(RemoteExecutionError, match=f"accepts at most {_BELOW_ONE_FRAME} "):
            await soon(client.remote_call(name, (_BELOW_ONE_FRAME + 1,)))
    assert len(await soon(client.remote_call(name, (1000,)))) == 1000


async def test_a_request_that_waits_for_a_server_and_closes_its_first_channel_does_not_end_the_server(
    stage: Stage, limit: Callable[[int], None]
) -> None:
    async def make(size: int) -> bytes:
        return os.urandom(size)

    limit(_BELOW_ONE_FRAME)
    name = stage.register(make)
    first = await stage.server(make)
    client = await stage.client()
    assert len(await soon(client.remote_call(name, (10,)))) == 10
    await soon(first.close())
    calls = [asyncio.create_task(client.remote_call(name, (_BELOW_ONE_FRAME + 1,))) for _ in range(3)]
    await until_waiting(stage.url, f"rpc_async_{name}", 3)
    second = await stage.server(make)
    for outcome in await soon(asyncio.gather(*calls, return_exceptions=True)):
        assert isinstance(outcome, RemoteExecutionError)
        assert f"accepts at most {_BELOW_ONE_FRAME} " in str(outcome)
    assert len(await soon(client.remote_call(name, (1000,)))) == 1000
    assert second.state is ConnectionState.READY
