"""How results are handed to the threads that wait for them."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge.sync import Client
from rabibridge_core.plugins import hookimpl, plugin_manager
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_testing import FakeBroker

pytestmark = pytest.mark.usefixtures("clean_place")


async def add(left: int, right: int) -> int:
    return left + right


class Together:
    """A function that returns when so many of its calls have come."""

    def __init__(self, calls: int) -> None:
        self._left = calls
        self._all_here = asyncio.Event()

    async def __call__(self, number: int) -> int:
        self._left -= 1
        if not self._left:
            self._all_here.set()
        await self._all_here.wait()
        return number


@pytest.fixture
def client(fake_broker: FakeBroker) -> Iterator[Client]:
    fake_broker.add_service(add)
    with Client() as client:
        yield client
        assert client.pending == 0


def together(client: Client, fake_broker: FakeBroker, threads: int, name: str) -> None:
    fake_broker.add_service(Together(threads), name=name, fetch_size=threads)
    with ThreadPoolExecutor(threads) as pool:
        calls = [pool.submit(client.remote_call, name, (number,), timeout=PATIENCE) for number in range(threads)]
        assert [call.result(PATIENCE) for call in calls] == list(range(threads))


def test_many_threads_whose_calls_end_together(client: Client, fake_broker: FakeBroker) -> None:
    together(client, fake_broker, 150, "first")
    together(client, fake_broker, 150, "second")


def test_threads_that_compute_between_their_calls(client: Client) -> None:
    """They hold the GIL for as long as they may, and end their calls all the same, as those that do not compute do."""

    def compute(number: int) -> list[Any]:
        results = []
        for _ in range(5):
            until = time.monotonic() + 0.02
            while time.monotonic() < until:
                pass
            results.append(client.remote_call("add", (number, 1), timeout=PATIENCE))
        return results

    with ThreadPoolExecutor(8) as pool:
        computing = [pool.submit(compute, number) for number in range(7)]
        while not all(call.done() for call in computing):
            assert pool.submit(client.remote_call, "add", (1, 2), timeout=PATIENCE).result(PATIENCE) == 3
        assert [call.result(PATIENCE) for call in computing] == [[number + 1] * 5 for number in range(7)]


def test_plugins_run_in_a_task(fake_broker: FakeBroker) -> None:
    tasks = []

    class Plugin:
        @hookimpl
        def rabibridge_call_sent(self) -> None:
            tasks.append(asyncio.current_task())

        @hookimpl
        def rabibridge_call_finished(self) -> None:
            tasks.append(asyncio.current_task())

    fake_broker.add_service(add)
    plugin = Plugin()
    plugin_manager().register(plugin)
    try:
        with Client() as client:
            assert client.remote_call("add", (1, 2), timeout=PATIENCE) == 3
            assert client.remote_call("add", (1, 2), timeout=PATIENCE) == 3
    finally:
        plugin_manager().unregister(plugin)
    assert len(tasks) == 4
    assert None not in tasks


def test_a_large_reply_is_decoded_beside_the_loop(client: Client, fake_broker: FakeBroker) -> None:
    """The call waits a second time then: for its decoding."""

    async def large() -> list[int]:
        return list(range(300_000))

    fake_broker.add_service(large)
    assert client.remote_call("large", timeout=PATIENCE) == list(range(300_000))
    assert any(thread.name.startswith("rabibridge-decoding") for thread in threading.enumerate())
