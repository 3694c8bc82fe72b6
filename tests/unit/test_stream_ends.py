"""Streams that their readers leave: by break, close, cancellation, garbage collection."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core.errors import (
    ConnectionLostError,
    RabiBridgeError,
)
from rabibridge_core.plugins.observers import CallObserver, ClientObserver
from tests.unit.client_support import lose, make_client, turns
from tests.unit.scripted_transport import ScriptedTransport
from tests.unit.stream_support import asked, read, rest, stream

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from rabibridge_core.plugins.observers import Shape


async def test_breaking_off_stops_the_producer_at_once(client: Client, transport: ScriptedTransport) -> None:
    async def reader() -> int:
        async for item in stream(client):
            return int(item)
        return -1

    task = asyncio.create_task(reader())
    worker = await asked(client, transport)
    worker.items(1, 2, 3)
    assert await task == 1
    await turns()
    assert transport.cancelled == [("any:report", worker.request.correlation_id)]
    assert client.pending == 0
    worker.items(4).end()
    assert client.stray_replies == 2


async def test_a_stream_that_is_held_is_closed_by_aclose(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    worker.items(1, 2)
    await first
    async for _ in source:
        break
    await turns()
    assert transport.cancelled == []
    await asyncio.gather(source.aclose(), source.aclose())
    await source.aclose()
    assert len(transport.cancelled) == 1
    assert [item async for item in source] == []
    assert source.received == 2
    assert "2 items, ended" in repr(source)


async def test_the_block_closes_it(client: Client, transport: ScriptedTransport) -> None:
    async with stream(client) as source:
        first = asyncio.create_task(anext(source))
        (await asked(client, transport)).items(1)
        await first
    assert len(transport.cancelled) == 1
    async with contextlib.aclosing(stream(client)) as never_read:
        assert never_read.received == 0
    assert len(transport.sent) == 1


async def test_closing_while_another_task_waits(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    waiting = [asyncio.create_task(anext(source, "end")) for _ in range(3)]
    worker = await asked(client, transport)
    worker.open()
    await turns()
    await source.aclose()
    assert await asyncio.gather(*waiting) == ["end"] * 3
    assert len(transport.cancelled) == 1


async def test_cancelling_a_step_loses_nothing(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    worker.open()
    first.cancel()
    await asyncio.wait([first])
    assert first.cancelled()
    worker.items(1, 2).end()
    assert await rest(source) == [1, 2]
    assert transport.cancelled == []


async def test_closing_before_it_could_be_sent(client: Client, transport: ScriptedTransport) -> None:
    transport.pause("no connection")
    source = stream(client)
    waiting = asyncio.create_task(anext(source, "end"))
    await turns()
    await source.aclose()
    assert await waiting == "end"
    assert (transport.sent, transport.cancelled) == ([], [])
    transport.open.set()


async def test_garbage_in_a_cycle_and_on_a_closed_loop(client: Client, transport: ScriptedTransport) -> None:
    source: Any = stream(client)
    first = asyncio.create_task(anext(source))
    (await asked(client, transport)).items(1, 2)
    await first
    holder: list[Any] = [source]
    holder.append(holder)
    del source, holder, first
    gc.collect()
    assert transport.cancelled == [], "it may have been in the middle of anything"
    await turns()
    assert len(transport.cancelled) == 1


async def test_closing_the_client(client: Client, transport: ScriptedTransport) -> None:
    source = stream(client)
    first = asyncio.create_task(anext(source))
    (await asked(client, transport)).items(1, 2)
    await first
    await client.close()
    assert len(transport.cancelled) == 1
    assert await read(source, 1) == [2]
    with pytest.raises(ConnectionLostError, match="was closed") as caught:
        await anext(source)
    assert caught.value.received == 2


async def test_many_that_are_dropped_leave_nothing(client: Client, transport: ScriptedTransport) -> None:
    for number in range(500):
        source = stream(client)
        first = asyncio.create_task(anext(source))
        worker = await asked(client, transport, number + 1)
        worker.items(1).items(2)
        await first
        del source, first
    await turns()
    assert len(transport.cancelled) == 500
    assert client.pending == 0
    assert len(client.calls.deadlines) == 0


async def test_observers_hear_once_of_a_stream(client: Client, transport: ScriptedTransport) -> None:
    heard: list[Any] = []
    client.observer = _Observer(heard)
    source = stream(client)
    first = asyncio.create_task(anext(source))
    worker = await asked(client, transport)
    assert (worker.request.headers or {})["trace"] == "t"
    worker.items(1).end()
    assert await first == 1
    assert await rest(source) == []
    assert heard == ["sent", (None, 1)]
    source = stream(client)
    first = asyncio.create_task(anext(source))
    (await asked(client, transport, 2)).items(1)
    await first
    await source.aclose()
    await source.aclose()
    assert heard[2] == "sent"
    assert isinstance(heard[3][0], asyncio.CancelledError)
    lost = stream(client)
    first = asyncio.create_task(anext(lost))
    await asked(client, transport, 3)
    lose(client, transport)
    with pytest.raises(ConnectionLostError):
        await first
    assert heard[4] == "sent"
    assert isinstance(heard[5][0], RabiBridgeError)
    assert len(heard) == 6


class _Observer(ClientObserver):
    def __init__(self, heard: list[Any]) -> None:
        self._heard = heard

    def call_started(self, shape: Shape, service: str) -> CallObserver:
        return _ObservedStream(self._heard)


class _ObservedStream(CallObserver):
    def __init__(self, heard: list[Any]) -> None:
        self._heard = heard

    def sending(self, correlation_id: bytes, time_left: Any, headers: Any) -> Any:
        self._heard.append("sent")
        return {"trace": "t"}

    def ended(self, error: Any, items: int | None) -> None:
        self._heard.append((error, items))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("waiting", [False, True])
def test_a_loop_that_ends_with_open_streams_is_silent(waiting: bool, caplog: pytest.LogCaptureFixture) -> None:
    held: list[Any] = []

    async def main() -> None:
        transport = ScriptedTransport()
        client = make_client(transport)
        await client.connect()
        for number in range(3):
            source = stream(client, (item for item in range(3)) if number else 1)
            first = asyncio.create_task(anext(source))
            worker = await asked(client, transport, number + 1)
            worker.items(1, 2, window="16,1000")
            await first
            if waiting:
                held.append(asyncio.ensure_future(rest(source)))
                await turns()
            held.append(source)

    asyncio.run(main())
    held.clear()
    gc.collect()
    assert [record.getMessage() for record in caplog.records] == []
