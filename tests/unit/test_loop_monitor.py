"""A handler that blocks the event loop is named."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

from rabibridge_core._observability.loop_monitor import LoopMonitor
from tests.unit.scripted_requests import PATIENCE, ScriptedRequest, make_service, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

_LIMIT = 0.05


class _Seen(logging.Handler):
    """Collects what the watch says, and tells a blocking handler that it was noticed."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.noticed = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())
        self.noticed.set()


def _watched(service_of: Callable[[asyncio.Task[object]], str | None], seen: _Seen) -> LoopMonitor:
    logging.getLogger("rabibridge_core._observability.loop_monitor").addHandler(seen)
    watch = LoopMonitor(service_of, limit=_LIMIT, pause=0.01)
    watch.start()
    return watch


async def _told(seen: _Seen, who: str, block: Callable[[], Awaitable[None]]) -> tuple[str, str]:
    """Block the loop until the watch has said who does; return that and what it says afterwards.

    It names nobody after a pause of the whole process, in which it cannot have looked: then the loop is blocked again.
    """
    async with asyncio.timeout(PATIENCE):
        while True:
            del seen.texts[:]
            seen.noticed.clear()
            await block()
            await until(lambda: any("in total" in text for text in seen.texts))
            texts = [text for text in seen.texts if who in text]
            if len(texts) >= 2:
                return texts[0], texts[1]


async def _end(watch: LoopMonitor, seen: _Seen) -> None:
    watch.stop()
    logging.getLogger("rabibridge_core._observability.loop_monitor").removeHandler(seen)
    await until(lambda: not [thread for thread in threading.enumerate() if thread.name == "rabibridge-loop-watch"])


async def test_the_service_the_place_and_the_time_are_told() -> None:
    seen = _Seen()

    async def greedy() -> bool:
        return seen.noticed.wait(PATIENCE)  # blocks the loop until it was told

    service = make_service(greedy)
    watch = _watched(lambda task: "greedy" if service.runs(task) else None, seen)

    async def block() -> None:
        request = ScriptedRequest()
        service.received(request)
        await until(lambda: request.settled)
        assert request.answer == [0, True]  # it was told while the loop stood still

    try:
        while_blocked, after = await _told(seen, "greedy", block)
    finally:
        await _end(watch, seen)
    assert "handler of service 'greedy'" in while_blocked
    assert f"{__file__}:" in while_blocked
    assert "test_the_service_the_place_and_the_time_are_told.<locals>.greedy" in while_blocked
    assert "handler of service 'greedy'" in after
    assert "in total" in after


async def test_what_is_no_handler_is_named_as_what_it_is() -> None:
    seen = _Seen()
    watch = _watched(lambda task: None, seen)
    loop = asyncio.get_running_loop()

    async def in_a_callback() -> None:
        blocked = asyncio.Event()

        def callback() -> None:
            seen.noticed.wait(PATIENCE)
            blocked.set()

        loop.call_soon(callback)
        await blocked.wait()

    async def in_this_task() -> None:
        seen.noticed.wait(PATIENCE)

    try:
        assert "has blocked" in (await _told(seen, "a callback", in_a_callback))[0]
        task = asyncio.current_task()
        assert task is not None
        task.set_name("mine")
        assert "has blocked" in (await _told(seen, "the task 'mine'", in_this_task))[0]
    finally:
        await _end(watch, seen)


async def test_a_loop_that_turns_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    seen = _Seen()
    watch = LoopMonitor(lambda task: None, limit=PATIENCE, pause=0.001)
    watch.start()
    for _ in range(20):
        await asyncio.sleep(0.005)
    await _end(watch, seen)
    assert [record.getMessage() for record in caplog.records] == []


def test_a_watch_ends_with_its_loop() -> None:
    async def leave_it() -> LoopMonitor:
        watch = LoopMonitor(lambda task: None, pause=0.001)
        watch.start()
        return watch

    asyncio.run(leave_it())
    for thread in [thread for thread in threading.enumerate() if thread.name == "rabibridge-loop-watch"]:
        thread.join(PATIENCE)
        assert not thread.is_alive()
