"""Streams by the thousand leave nothing behind, however they end; ``make soak-streams`` runs the full sizes."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import RemoteExecutionError
from rabibridge_core._client.stream_run import PendingStream
from rabibridge_core._client.stream_state import StreamState
from rabibridge_core._server.stream_sessions import StreamSession
from rabibridge_core._server.streams import StreamSender
from rabibridge_core.plugins import hookimpl, plugin_manager
from tests.support.waiting import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from rabibridge import RMQClient
    from rabibridge_core._client.stream import Stream
    from tests.rabbitmq.support import Stage

ABANDONED = int(os.environ.get("STREAMS_ABANDONED", "100"))
CANCELLED = int(os.environ.get("STREAMS_CANCELLED", "100"))
ITEMS = int(os.environ.get("STREAM_ITEMS", "5000"))
"""How many streams are left with items on their way, and cancelled; and how many items are read in each way."""
_AT_ONCE = 20
_GROWTH = 16 * 2**20
"""By how much memory may grow in the second half of a long run, in bytes."""


@pytest.fixture(autouse=True)
def new_objects_alone() -> Iterator[None]:
    """Let the garbage collector see only what a test makes itself, not what others of this process have left."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def _alive() -> Counter[str]:
    """Count what belongs to streams of this test that are under way, in caller and worker: they share this process."""
    gc.collect()
    kinds = (StreamSession, StreamSender, StreamState, PendingStream)
    return Counter(type(each).__name__ for each in gc.get_objects() if issubclass(type(each), kinds))


async def _nothing_left(client: RMQClient) -> None:
    await until(lambda: not client.pending)
    await until(lambda: not _alive())
    assert len(client._client.calls.deadlines) == 0


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _by_rounds(count: int, step: Callable[[], Awaitable[object]]) -> int:
    """Run ``step`` so often, some at a time; return how much memory the second half took."""
    half = 0
    for number in range(0, count, _AT_ONCE):
        if half == 0 and number >= count // 2:
            gc.collect()
            half = _resident()
        await asyncio.gather(*(step() for _ in range(min(_AT_ONCE, count - number))))
    gc.collect()
    grown = _resident() - half
    print(f"{count} streams: {half / 2**20:.1f} MiB resident at half, {grown / 2**20:+.1f} MiB at the end")
    return grown


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


@pytest.mark.timeout(14_400)  # in full size
async def test_streams_that_are_left_with_items_on_their_way(stage: Stage) -> None:
    name = await stage.serve(numbers, fetch_size=_AT_ONCE)
    client = await stage.client()

    async def leave() -> None:
        stream = client.options(timeout=600).stream(name, 10**9)
        assert await anext(stream) == 0
        await stream.aclose()

    assert await _by_rounds(ABANDONED, leave) < _GROWTH
    await _nothing_left(client)
    last = client.options(timeout=600).stream(name, 50_000)
    assert [number async for number in last] == list(range(50_000))
    await _nothing_left(client)


class Hearing:
    """A plug-in that observes calls, and counts how they end."""

    def __init__(self) -> None:
        self.ends: Counter[str] = Counter()

    @hookimpl
    def rabibridge_call_finished(self, func_name: str, error: BaseException | None) -> None:
        self.ends[f"call {type(error).__name__}"] += 1

    @hookimpl
    def rabibridge_request_finished(self, service: str, error: BaseException | None) -> None:
        self.ends[f"request {type(error).__name__}"] += 1


@pytest.fixture
def hearing(request: pytest.FixtureRequest) -> Iterator[Hearing | None]:
    if not request.param:
        yield None
        return
    plugin_manager().register(plugin := Hearing())
    yield plugin
    plugin_manager().unregister(plugin)


@pytest.mark.timeout(14_400)  # in full size
@pytest.mark.parametrize("hearing", [False, True], ids=["alone", "with a plug-in"], indirect=True)
async def test_streams_whose_functions_swallow_the_cancellation(stage: Stage, hearing: Hearing | None) -> None:
    swallowed = 0

    async def stubborn() -> AsyncIterator[bytes]:
        nonlocal swallowed
        try:
            while True:
                yield b"x" * 100
        except asyncio.CancelledError:
            swallowed += 1
            yield b"this is dropped"

    name = await stage.serve(stubborn, fetch_size=_AT_ONCE)
    client = await stage.client()

    async def cancel() -> None:
        stream = client.options(timeout=600).stream(name)
        reading = asyncio.ensure_future(_read_all(stream))
        await until(lambda: stream.received > 0)
        reading.cancel()
        await asyncio.wait([reading])
        assert reading.cancelled()
        await stream.aclose()

    count = CANCELLED if hearing is None else CANCELLED // 2
    assert await _by_rounds(count, cancel) < _GROWTH
    await _nothing_left(client)
    assert swallowed == count
    if hearing is not None:
        assert hearing.ends == {"call CancelledError": count, "request CancelledError": count}


async def _read_all(stream: Stream[Any]) -> list[Any]:
    return [item async for item in stream]


async def _by_next(stream: Stream[Any]) -> list[Any]:
    return [await anext(stream) for _ in range(ITEMS)]


async def _by_list_of_half(stream: Stream[Any]) -> list[Any]:
    """Read the half, and leave."""
    found = [await anext(stream) for _ in range(ITEMS // 2)]
    await stream.aclose()
    return found


async def _by_cancelled_steps(stream: Stream[Any]) -> list[Any]:
    """Cancel a step from time to time: no item is lost by that."""
    found: list[Any] = []
    while len(found) < ITEMS:
        step = asyncio.ensure_future(anext(stream))
        if len(found) % 100 == 99:
            await asyncio.sleep(0)
            step.cancel()
            await asyncio.wait([step])
            if step.cancelled():
                continue
        found.append(await step)
    return found


async def _to_an_error(stream: Stream[Any]) -> list[Any]:
    found, received = list[Any](), None
    try:
        async for item in stream:
            found.append(item)
    except RemoteExecutionError as error:
        received = error.received
    assert received == len(found)
    return found


WAYS = {
    "for": (_read_all, ITEMS),
    "anext": (_by_next, ITEMS),
    "left": (_by_list_of_half, ITEMS // 2),
    "cancelled steps": (_by_cancelled_steps, ITEMS),
    "error": (_to_an_error, ITEMS),
}


@pytest.mark.timeout(14_400)  # in full size
@pytest.mark.parametrize("way", WAYS)
async def test_nothing_is_in_flight_after_any_way_to_read(
    stage: Stage, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def counted(count: int, error: bool) -> AsyncIterator[int]:
        for number in range(count):
            yield number
        if error:
            raise LookupError("that was the last")

    name = await stage.serve(counted)
    client = await stage.client()
    read, expected = WAYS[way]
    view = client.options(timeout=max(PATIENCE, ITEMS / 500), headers={"tenant": "blue", "trace": "t" * 100})

    async def run() -> None:
        stream = view.stream(name, ITEMS, way == "error")
        reading = asyncio.ensure_future(read(stream))
        source = stream._source
        await until(lambda: source._run is not None or reading.done())
        states = [] if source._run is None else [source._run.state]
        assert await reading == list(range(expected))
        await stream.aclose()
        assert [(len(state.messages), state._buffered) for state in states] == [(0, 0)] * len(states)
        assert len(source.items) == 0

    caplog.set_level(logging.CRITICAL, "rabibridge_core")  # pytest keeps records, and frames with those of failures
    await run()
    await _nothing_left(client)
