"""Whatever happens to the messages of a stream, its reader gets the right items, or an error after some of them."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rabibridge_core.errors import RabiBridgeError, StreamError
from tests.unit.client_support import make_client
from tests.unit.scripted_transport import ScriptedTransport
from tests.unit.stream_support import Playing, asked, stream

_FAULTS = st.lists(st.tuples(st.sampled_from(["lose", "double", "swap", "delay"]), st.integers(0, 11)), max_size=4)


@given(sizes=st.lists(st.integers(0, 3), max_size=10), faults=_FAULTS, read_between=st.booleans())
@settings(max_examples=150, deadline=None)
def test_nothing_is_lost_doubled_or_reordered_in_silence(
    sizes: list[int], faults: list[tuple[str, int]], read_between: bool
) -> None:
    asyncio.run(_one(sizes, faults, read_between=read_between))


async def _one(sizes: list[int], faults: list[tuple[str, int]], *, read_between: bool) -> None:
    transport = ScriptedTransport()
    client = make_client(transport)
    await client.connect()
    source = stream(client, timeout=30.0, idle_timeout=0.02)
    got: list[int] = []
    ended: list[RabiBridgeError | None] = []
    reading = asyncio.create_task(_read(source, got, ended))
    messages = _messages(Playing(client, (await asked(client, transport)).request), sizes)
    for correlation_id, reply in _spoiled(messages, faults):
        client.calls.replied(correlation_id, reply)
        if read_between:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    await asyncio.wait_for(reading, 30)
    everything = list(range(sum(sizes)))
    (error,) = ended
    if error is None:
        assert got == everything
    else:
        assert got == everything[: len(got)]
        assert isinstance(error, StreamError) or "idle_timeout" in str(error), "only a lost end is waited for"
        assert error.received == len(got)
    assert client.pending == 0
    await client.close()


async def _read(source: Any, got: list[int], ended: list[RabiBridgeError | None]) -> None:
    try:
        async for item in source:
            got.append(item)
    except RabiBridgeError as error:
        ended.append(error)
    else:
        ended.append(None)


def _messages(worker: Playing, sizes: list[int]) -> list[tuple[bytes, Any]]:
    recorded: list[tuple[bytes, Any]] = []
    real = worker.client
    worker.client = _Recording(recorded)  # type: ignore[assignment]
    worker.open()
    count = 0
    for size in sizes:
        worker.items(*range(count, count + size))
        count += size
    worker.end()
    worker.client = real
    return recorded


class _Recording:
    def __init__(self, recorded: list[tuple[bytes, Any]]) -> None:
        self.calls = self
        self._recorded = recorded

    def replied(self, correlation_id: bytes, reply: Any) -> None:
        self._recorded.append((correlation_id, reply))


def _spoiled(messages: list[tuple[bytes, Any]], faults: list[tuple[str, int]]) -> list[tuple[bytes, Any]]:
    found = list(messages)
    for what, where in faults:
        place = where % max(1, len(found))
        if what == "lose" and found:
            del found[place]
        elif what == "double" and found:
            found.insert(place, found[place])
        elif what == "swap" and place + 1 < len(found):
            found[place], found[place + 1] = found[place + 1], found[place]
        elif what == "delay" and found:
            found.append(found.pop(place))
    return found
