"""The errors that end the streams of a client, and what they tell."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._codec.annotations import ResultAdapter
from rabibridge_core.errors import (
    CallTimeoutError,
    ConfigurationError,
    NoRouteError,
    QueueFullError,
    RemoteExecutionError,
    SerializationError,
    StreamError,
)
from tests.support.waiting import longer
from tests.unit.client_support import reply as plain_reply
from tests.unit.stream_support import Playing, asked, read, rest, stream

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_core.transport import Request
    from tests.unit.scripted_transport import ScriptedTransport


async def test_a_service_that_returns_one_result(client: Client, transport: ScriptedTransport) -> None:
    task = asyncio.create_task(rest(stream(client)))
    worker = await asked(client, transport)
    client.calls.replied(worker.request.correlation_id, plain_reply(7))
    with pytest.raises(StreamError, match=r"returned one result.*use client\.call") as caught:
        await task
    assert caught.value.received == 0


async def test_an_end_without_a_number(client: Client, transport: ScriptedTransport) -> None:
    task = asyncio.create_task(rest(stream(client)))
    worker = await asked(client, transport)
    client.calls.replied(worker.open().request.correlation_id, plain_reply(None))
    with pytest.raises(StreamError, match="does not say how many"):
        await task


async def test_errors_of_the_function(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    worker.items(1, 2)
    await first
    worker.fails()
    assert await read(source, 1) == [2]
    with pytest.raises(RemoteExecutionError, match="ValueError: broken") as caught:
        await anext(source)
    assert caught.value.received == 2
    assert caught.value.executed is True
    again: RemoteExecutionError = pickle.loads(pickle.dumps(caught.value))
    assert again.received == 2
    assert transport.cancelled == []


async def test_refusals(client: Client, transport: ScriptedTransport) -> None:
    for refusal in (QueueFullError, NoRouteError):
        source = stream(client)
        count = len(transport.sent) + 1
        first = asyncio.create_task(anext(source))
        worker = await asked(client, transport, count)
        client.calls.refused(worker.request.correlation_id, refusal, "it is so")
        with pytest.raises(refusal, match="it is so") as caught:
            await first
        assert (caught.value.received, caught.value.executed) == (0, False)
    assert client.pending == 0


async def test_the_timeout_is_for_the_whole_stream(client: Client, transport: ScriptedTransport) -> None:
    def answer(request: Request) -> None:  # before any deadline that passes
        asyncio.get_running_loop().call_soon(lambda: Playing(client, request).items(1, 2, 3).items(4))

    transport.sending = answer
    source = stream(client, timeout=0.2)
    assert await anext(source) == 1
    await asyncio.sleep(0.25)
    with pytest.raises(CallTimeoutError, match=r"no end of the stream within 0\.2 s") as caught:
        await anext(source)
    assert caught.value.received == 1
    assert source.received == 1
    assert transport.cancelled == [("any:report", transport.sent[0].correlation_id)]
    assert transport.looked == [], "there is a worker, as it has answered"


async def test_nobody_answers(client: Client, transport: ScriptedTransport) -> None:
    transport.queue_state = (0, 1)
    with pytest.raises(CallTimeoutError, match="no worker serves it now") as caught:
        await rest(stream(client, timeout=0.05))
    assert caught.value.received == 0


async def test_the_idle_timeout_is_for_each_item(client: Client, transport: ScriptedTransport) -> None:
    idle_times = longer(0.15)
    while True:
        idle = next(idle_times)
        source = stream(client, idle_timeout=idle)
        count = len(transport.sent) + 1
        first = asyncio.create_task(anext(source))
        worker = await asked(client, transport, count)
        worker.open()
        try:
            await asyncio.sleep(idle * 2 / 3)
            worker.items(1)
            await first
            await asyncio.sleep(2 * idle)  # the time of the reader does not count
            second = asyncio.create_task(anext(source))
            await asyncio.sleep(idle * 2 / 3)
            worker.items(2)
            assert await second == 2
            break
        except CallTimeoutError:
            continue  # the machine stood still for longer than that
    with pytest.raises(CallTimeoutError, match=r"the item 2 did not come within idle_timeout=[\d.]+ s") as caught:
        await anext(source)
    assert caught.value.received == 2
    assert transport.cancelled[-1] == ("any:report", worker.request.correlation_id)


async def test_wrong_options(client: Client, transport: ScriptedTransport) -> None:
    with pytest.raises(ConfigurationError, match="idle_timeout is 0; it must be a positive"):
        stream(client, idle_timeout=0)
    with pytest.raises(ConfigurationError, match="use idempotent=True, or register"):
        stream(client, idempotency_key="k")
    with pytest.raises(ConfigurationError, match="timeout is"):
        stream(client, timeout="x")
    transport.streams = False
    with pytest.raises(ConfigurationError, match="ScriptedTransport carries no streams"):
        stream(client)


async def test_items_are_made_what_the_annotation_says(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client, adapt=ResultAdapter(tuple[int, str], "report", "item"))
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    worker.items([1, "a"], [2, "b"], 3, [4, "d"])
    assert await first == (1, "a")
    assert await read(source, 1) == [(2, "b")]
    with pytest.raises(SerializationError, match="the item does not fit its annotation") as caught:
        await anext(source)
    assert caught.value.received == 2
    assert len(transport.cancelled) == 1


async def test_a_body_that_cannot_be_read(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    worker.items(1)
    await first
    reply = plain_reply(1)._replace(body=b"\xc1", headers={"rb-part": "items", "rb-index": 1})
    client.calls.replied(worker.request.correlation_id, reply)
    with pytest.raises(SerializationError) as caught:
        await anext(source)
    assert caught.value.received == 1
