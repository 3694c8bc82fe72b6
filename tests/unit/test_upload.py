"""Arguments that are fed from an iterator of the caller: what is sent, when, and how it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from rabibridge_core.errors import (
    SerializationError,
)
from tests.unit.client_support import CODEC, turns
from tests.unit.client_support import reply as plain_reply
from tests.unit.stream_support import asked
from tests.unit.upload_support import WINDOW, Source, begin, fed, grant

if TYPE_CHECKING:
    from rabibridge_core._client.client import Client
    from tests.unit.scripted_transport import ScriptedTransport


async def test_items_are_sent_when_the_worker_has_begun(client: Client, transport: ScriptedTransport) -> None:
    source = Source(1, "two", None)
    task = begin(client, "first", source.run())
    worker = await asked(client, transport)
    assert worker.request.headers == {"rb-upload": "1"}
    arguments = CODEC.decode(worker.request.body, worker.request.content_type, None, b"")
    assert arguments == [["first", None], {}, True]
    await turns()
    assert source.drawn == 0
    worker.open(**WINDOW)
    await turns(lambda: len(transport.fed) == 2)
    assert fed(transport) == [(0, [1, "two"]), (2, [None])] or fed(transport)[0][0] == 0
    grant(worker, 2)
    await turns(lambda: ("end", 3) in fed(transport))
    assert [item for entry in fed(transport) if isinstance(entry[1], list) for item in entry[1]] == [1, "two", None]
    assert {request.routing_key for request in transport.fed} == {"stream:a"}
    client.calls.replied(worker.request.correlation_id, plain_reply("done"))
    assert await task == "done"
    assert source.closed.is_set()
    assert len(source.tasks) == 1
    assert transport.cancelled == []
    assert client.pending == 0


async def test_the_window_stops_the_iterator(client: Client, transport: ScriptedTransport) -> None:
    big = [bytes([number]) * 250_000 for number in range(6)]
    source = Source(*big)
    task = begin(client, source.run())
    worker = (await asked(client, transport)).open(**WINDOW)
    await turns()
    assert len(transport.fed) == 2
    assert source.drawn == 3, "one is in hand"
    grant(worker, 1)
    await turns()
    assert len(transport.fed) == 3
    grant(worker, 1)
    grant(worker, 4)
    await turns()
    assert [entry[0] for entry in fed(transport)] == [0, 1, 2, 3, 4]
    grant(worker, 5)
    await turns()
    assert fed(transport)[-1] == ("end", 6)
    client.calls.replied(worker.request.correlation_id, plain_reply(None))
    await task


async def test_small_items_are_gathered_while_there_is_no_room(client: Client, transport: ScriptedTransport) -> None:
    task = begin(client, iter(range(10_000)))
    worker = (await asked(client, transport)).open(**WINDOW)
    await turns()
    assert [len(entry[1]) for entry in fed(transport)] == [4096, 4096]
    grant(worker, 2)
    await turns()
    assert [len(entry[1]) for entry in fed(transport)[:-1]] == [4096, 4096, 1808]
    assert fed(transport)[-1] == ("end", 10_000)
    client.calls.replied(worker.request.correlation_id, plain_reply(10_000))
    assert await task == 10_000


async def test_an_iterator_that_fails(client: Client, transport: ScriptedTransport) -> None:
    source = Source(1, 2, 3, error=ValueError("the disk is gone"))
    task = begin(client, source.run())
    (await asked(client, transport)).open(window="16,1048576")
    with pytest.raises(ValueError, match="the disk is gone"):
        await task
    last = transport.fed[-1].headers or {}
    assert last["rb-part"] == "error"
    assert (last["rb-error-type"], last["rb-error-message"]) == ("builtins.ValueError", "the disk is gone")
    assert source.closed.is_set()
    assert transport.cancelled == [], "the function learns it from the upload"
    assert client.pending == 0


async def test_an_item_that_cannot_be_sent(client: Client, transport: ScriptedTransport) -> None:
    source = Source(1, object())
    task = begin(client, source.run())
    (await asked(client, transport)).open(**WINDOW)
    with pytest.raises(SerializationError):
        await task
    assert (transport.fed[-1].headers or {})["rb-part"] == "error"
    assert source.closed.is_set()


async def test_the_caller_is_cancelled(client: Client, transport: ScriptedTransport) -> None:
    source = Source(1, endless=True)
    task = begin(client, source.run())
    worker = (await asked(client, transport)).open(**WINDOW)
    await turns()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert source.closed.is_set()
    assert transport.cancelled == [("any:report", worker.request.correlation_id)]


@pytest.mark.parametrize("waits", [True, False])
async def test_the_function_ends_early(client: Client, transport: ScriptedTransport, waits: bool) -> None:
    source = Source(*range(3), endless=True) if waits else Source(*[bytes(70_000)] * 9)
    task = begin(client, source.run())
    worker = (await asked(client, transport)).open(**WINDOW)
    await turns()
    client.calls.replied(worker.request.correlation_id, plain_reply("enough"))
    assert await task == "enough"
    assert source.closed.is_set()
    assert ("end", 3) not in fed(transport)
    assert transport.cancelled == []
