"""Arguments that are fed from an iterator of the caller: losses, refusals, and streams in both directions."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.upload_arguments import find_upload
from rabibridge_core.errors import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    NoRouteError,
    QueueFullError,
    StreamError,
)
from tests.unit.client_support import PATIENCE, lose, turns
from tests.unit.client_support import reply as plain_reply
from tests.unit.stream_support import asked, credits_of, read, stream
from tests.unit.upload_support import OTHER, WINDOW, Source, begin, fed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from rabibridge_core._client.client import Client
    from tests.unit.scripted_transport import ScriptedTransport


async def test_the_timeout(client: Client, transport: ScriptedTransport) -> None:
    source = Source(1, endless=True)
    task = begin(client, source.run(), timeout=0.1)
    (await asked(client, transport)).open(**WINDOW)
    with pytest.raises(CallTimeoutError, match=r"no reply within 0\.1 s") as caught:
        await task
    assert caught.value.received is None
    assert source.closed.is_set()


async def test_a_loss_after_items_were_drawn(client: Client, transport: ScriptedTransport) -> None:
    source = Source(1, endless=True)
    task = begin(client, source.run(), idempotent=True)
    (await asked(client, transport)).open(**WINDOW)
    await turns()
    lose(client, transport)
    with pytest.raises(ConnectionLostError):
        await task
    assert source.closed.is_set()
    assert len(transport.sent) == 1


async def test_a_loss_before_items_were_drawn(client: Client, transport: ScriptedTransport) -> None:
    source = Source(1)
    task = begin(client, source.run(), idempotent=True)
    await asked(client, transport)
    lose(client, transport)
    transport.open.set()
    again = (await asked(client, transport, 2)).open(**WINDOW)
    await turns(lambda: ("end", 1) in fed(transport))
    client.calls.replied(again.request.correlation_id, plain_reply(1))
    assert await task == 1


async def test_another_worker_begins_it_again(client: Client, transport: ScriptedTransport) -> None:
    source = Source(1, endless=True)
    task = begin(client, source.run())
    worker = (await asked(client, transport)).open(**WINDOW)
    await turns()
    worker.again("stream:b").open(**WINDOW)
    with pytest.raises(StreamError, match="an upload of which items were drawn cannot be sent again"):
        await task
    assert source.closed.is_set()
    assert len(transport.cancelled) == 1, "or the second function would wait for the upload"


async def test_a_run_that_begins_after_the_end_is_cancelled(client: Client, transport: ScriptedTransport) -> None:
    task = begin(client, Source(1, endless=True).run())
    worker = (await asked(client, transport)).open(**WINDOW)
    await turns()
    task.cancel()
    await asyncio.wait([task])
    before = len(transport.fed)
    worker.again("stream:b").open(**WINDOW)
    worker.again("x" * 256).open(**WINDOW)
    client.calls.replied(worker.request.correlation_id, plain_reply(1))
    (told,) = transport.fed[before:]
    assert (told.routing_key, told.correlation_id) == ("stream:b", worker.request.correlation_id)
    assert told.headers == {"rb-part": "cancel"}


async def test_messages_that_are_refused(client: Client, transport: ScriptedTransport) -> None:
    source = Source(1, endless=True)
    task = begin(client, source.run())
    worker = (await asked(client, transport)).open(**WINDOW)
    await turns()
    client.calls.feed_refused(worker.request.correlation_id, QueueFullError, "full")
    with pytest.raises(StreamError, match="does not read what waits for it"):
        await task
    task = begin(client, Source(1, endless=True).run())
    worker = (await asked(client, transport, 2)).open(**WINDOW)
    await turns()
    client.calls.feed_refused(worker.request.correlation_id, NoRouteError, "no queue")
    client.calls.replied(worker.request.correlation_id, plain_reply("it was on its way"))
    assert await task == "it was on its way"
    task = begin(client, Source(1, endless=True).run())
    worker = (await asked(client, transport, 3)).open(**WINDOW)
    await turns()
    client.calls.feed_refused(worker.request.correlation_id, NoRouteError, "no queue")
    with pytest.raises(StreamError, match=r"the connection of its worker is gone \(no queue\)"):
        await task


async def test_both_ways(client: Client, transport: ScriptedTransport) -> None:
    source = Source(1, 2, endless=True)
    both = stream(client, source.run())
    first = asyncio.create_task(anext(both))
    worker = await asked(client, transport)
    assert worker.request.headers == {"rb-stream": "16,1048576", "rb-last-items": True, "rb-upload": "0"}
    worker.open(**WINDOW)
    await turns()
    for number in range(8):
        worker.items(number)
    assert await first == 0
    assert await read(both, 7) == [1, 2, 3, 4, 5, 6, 7]
    assert credits_of(transport) == [8]
    assert source.drawn == 2
    await both.aclose()
    await asyncio.wait_for(source.closed.wait(), PATIENCE)
    assert len(transport.cancelled) == 1


async def test_both_ways_and_the_iterator_fails(client: Client, transport: ScriptedTransport) -> None:
    both = stream(client, Source(1, error=KeyError("k")).run())
    first = asyncio.create_task(anext(both))
    (await asked(client, transport)).open(**WINDOW)
    with pytest.raises(KeyError):
        await first
    with pytest.raises(StreamError, match="it has ended with KeyError before"):
        await anext(both)


async def test_it_runs_in_the_context_of_the_caller(client: Client, transport: ScriptedTransport) -> None:
    seen: list[str] = []

    async def source() -> AsyncIterator[int]:
        seen.append(OTHER.get())
        yield 1

    OTHER.set("mine")
    task = begin(client, source())
    OTHER.set("later")
    worker = await asked(client, transport)
    await asyncio.to_thread(lambda: None)
    contextvars.Context().run(worker.open, **WINDOW)
    await turns(lambda: bool(seen))
    client.calls.replied(worker.request.correlation_id, plain_reply(1))
    await task
    assert seen == ["mine"]


async def test_an_iterator_that_is_cancelled_from_inside(client: Client, transport: ScriptedTransport) -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        raise asyncio.CancelledError

    task = begin(client, source())
    (await asked(client, transport)).open(**WINDOW)
    with pytest.raises(StreamError, match="its iterator was cancelled"):
        await task


def _values() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("value", [[1], (1,), "text", {"a": 1}, {1}, range(3), b"x", 7, None])
def test_what_is_a_value(value: Any) -> None:
    assert find_upload((value,), {"name": value}) is None


def test_what_is_fed() -> None:
    generator, later = _values(), iter([1])
    assert find_upload((7, generator), {"b": 1}) == (generator, "1", (7, None), {"b": 1})
    assert find_upload((7,), {"b": later}) == (later, "b", (7,), {"b": None})
    with pytest.raises(TypeError, match="the arguments number 1 and 'b' are iterators"):
        find_upload((generator,), {"b": later})


async def test_a_transport_that_cannot(client: Client, transport: ScriptedTransport) -> None:
    transport.streams = False
    with pytest.raises(ConfigurationError, match="carries no streams and uploads"):
        await begin(client, iter([1]))
