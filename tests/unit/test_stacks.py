"""Where calls are that take long: what a worker logs about them while they run."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import RMQClient, RMQServer
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncIterator, Iterator

    from rabibridge_testing import FakeBroker

URL = "memory://stacks"
SECRET = "hunter2"


@pytest.fixture
async def server() -> AsyncIterator[RMQServer]:
    made = RMQServer(url=URL)
    async with made.serving():
        yield made


def _slow(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if getattr(record, "rb_event", "") == "call.slow"]


async def _logged(server: RMQServer, caplog: pytest.LogCaptureFixture, function: Any, go: threading.Event) -> str:
    """Call a function that waits for ``go``, and return what is logged of it."""
    server.add_service(function, slow_call=0.2)
    async with RMQClient(url=URL) as client:
        pending = asyncio.create_task(client.call(function.__name__, SECRET))
        await soon(until(lambda: bool(_slow(caplog))))
        await asyncio.sleep(0.3)
        go.set()
        await pending
    (record,) = _slow(caplog)  # once for each call
    text = record.getMessage()
    assert SECRET not in text
    assert (vars(record)["rb_service"], record.levelname) == (function.__name__, "WARNING")
    assert vars(record)["rb_duration"] >= 0.2
    assert f"call {vars(record)['rb_call_id']} runs for" in text
    return text


async def _deep(go: threading.Event) -> None:
    while not go.is_set():  # noqa: ASYNC110 - the test is about where it waits
        await asyncio.sleep(0.01)


async def test_a_coroutine_through_nested_awaits(server: RMQServer, caplog: pytest.LogCaptureFixture) -> None:
    go = threading.Event()

    async def nested(password: str) -> None:
        await middle(password)

    async def middle(password: str) -> None:
        await _deep(go)

    lines = (await _logged(server, caplog, nested, go)).splitlines()
    functions = [line.rpartition(" in ")[2] for line in lines if "test_stacks.py:" in line]
    assert [name.rpartition(".")[2] for name in functions] == ["_deep", "middle", "nested"]  # the innermost first
    assert lines.index(next(line for line in lines if "asyncio" in line)) > lines.index(
        next(line for line in lines if functions[-1] in line)
    ), "libraries come last"


async def test_the_tasks_of_a_group(server: RMQServer, caplog: pytest.LogCaptureFixture) -> None:
    go = threading.Event()

    async def grouped(password: str) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_deep(go), name="child")

    text = await _logged(server, caplog, grouped, go)
    assert "task child:" in text
    assert "in _deep" in text.partition("task child:")[2]
    assert "grouped" in text.partition("task child:")[0]


async def test_what_runs_in_to_thread(server: RMQServer, caplog: pytest.LogCaptureFixture) -> None:
    go = threading.Event()

    def blocking(password: str) -> None:
        go.wait(60)

    async def waiting(password: str) -> None:
        await asyncio.to_thread(blocking, password)

    text = await _logged(server, caplog, waiting, go)
    assert "thread asyncio_" in text
    assert "blocking" in text.partition("thread asyncio_")[2]


async def test_a_function_in_a_thread(server: RMQServer, caplog: pytest.LogCaptureFixture) -> None:
    go = threading.Event()

    def threaded(password: str) -> None:
        inner()

    def inner() -> None:
        go.wait(60)

    text = await _logged(server, caplog, threaded, go)
    told = text.partition("thread rabibridge-threaded-")[2]
    functions = [line.rpartition(".")[2] for line in told.splitlines() if "test_stacks.py:" in line]
    assert functions == ["inner", "threaded"]


@pytest.mark.parametrize("on_loop", [True, False])
async def test_the_place_of_a_generator(server: RMQServer, caplog: pytest.LogCaptureFixture, on_loop: bool) -> None:
    async def items(password: str) -> AsyncIterator[bytes]:
        for _ in range(1_000):
            yield b"x" * 100_000

    def sync_items(password: str) -> Iterator[bytes]:
        for _ in range(1_000):
            yield b"x" * 100_000

    function: Any = items if on_loop else sync_items
    server.add_service(function, slow_call=0.2)
    async with RMQClient(url=URL) as client, client.stream(function.__name__, SECRET) as stream:
        await anext(stream)
        await soon(until(lambda: bool(_slow(caplog))))
    text = _slow(caplog)[0].getMessage()
    assert f"{function.__qualname__}" in text
    assert SECRET not in text


async def test_nothing_is_logged_of_fast_calls_and_without_the_limit(
    server: RMQServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def fast(number: int) -> int:
        return number

    async def unlimited(number: int) -> int:
        await asyncio.sleep(0.5)
        return number

    server.add_service(fast, slow_call=0.4)
    server.add_service(unlimited)
    async with RMQClient(url=URL) as client:
        assert await asyncio.gather(*(client.call(fast, number) for number in range(100))) == list(range(100))
        assert await client.call(unlimited, 1) == 1
    assert _slow(caplog) == []


async def test_a_thousand_slow_calls_are_one_line_and_a_count(
    server: RMQServer, caplog: pytest.LogCaptureFixture
) -> None:
    go, loop = asyncio.Event(), asyncio.get_running_loop()
    began = loop.time()

    async def stuck() -> None:
        await go.wait()

    server.add_service(stuck, slow_call=0.1, fetch_size=1_000)
    async with RMQClient(url=URL) as client:
        calls = [asyncio.create_task(client.call(stuck)) for _ in range(1_000)]
        await soon(until(lambda: bool(_slow(caplog))))
        await asyncio.sleep(0.5)
        assert len(_slow(caplog)) <= 2 * (1 + (loop.time() - began) // 5), "at most two lines in five seconds"
        go.set()
        await asyncio.gather(*calls)


async def test_fake_broker_watches_for_slow_calls(fake_broker: FakeBroker, caplog: pytest.LogCaptureFixture) -> None:
    go = threading.Event()

    async def slow(password: str) -> None:
        await _deep(go)

    fake_broker.add_service(slow, slow_call=0.1)
    async with RMQClient() as client:
        pending = asyncio.create_task(client.call(slow, SECRET))
        await soon(until(lambda: bool(_slow(caplog))))
        go.set()
        await pending
    (record,) = _slow(caplog)
    assert "in _deep" in record.getMessage()
