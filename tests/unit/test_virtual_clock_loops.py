"""The clock of the fake broker on event loops of all scopes: it never goes back, and nothing of it is left."""

from __future__ import annotations

import asyncio
import gc
import math
import random
import re
import selectors
import time
import unittest
import weakref
from pathlib import Path
from typing import Any

import pytest
import uvloop

from rabibridge import CallTimeoutError, RMQClient
from rabibridge_core import _clock
from rabibridge_testing import FakeBroker, fake_broker_context
from rabibridge_testing._fake.loop_time import time_of

pytestmark = pytest.mark.usefixtures("clean_place")
YEAR = 365.0 * 86_400
_last = weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, float]()


async def use(broker: FakeBroker, seconds: float = 3000.0) -> None:
    """Let a call time out, on a loop that others may have used."""
    loop = asyncio.get_running_loop()
    assert loop.time() >= _last.get(loop, 0.0)
    broker.stub("work", raises=CallTimeoutError)
    async with RMQClient() as client:
        assert broker.clock.seconds == 0.0
        broker.clock.auto_advance()
        with pytest.raises(CallTimeoutError):
            await client.options(timeout=seconds).call("work")
        assert broker.clock.seconds == pytest.approx(seconds)
    _last[loop] = loop.time()


async def passes_as_outside() -> None:
    loop, began, at = asyncio.get_running_loop(), time.monotonic(), asyncio.get_running_loop().time()
    await asyncio.sleep(0.05)
    passed = loop.time() - at
    assert 0.049 <= passed <= time.monotonic() - began + 0.001


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.asyncio(loop_scope="function")
async def test_loops_of_functions(fake_broker: FakeBroker, times: int) -> None:
    await use(fake_broker)


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.asyncio(loop_scope="module")
async def test_loops_of_modules(fake_broker: FakeBroker, times: int) -> None:
    await use(fake_broker)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_loop_of_a_module_afterwards() -> None:
    assert not time_of(asyncio.get_running_loop())._stands
    await passes_as_outside()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.asyncio(loop_scope="session")
async def test_loops_of_sessions(fake_broker: FakeBroker, times: int) -> None:
    await use(fake_broker)


async def test_nested_brokers() -> None:
    with fake_broker_context() as outer:
        await outer.clock.advance(100)
        with fake_broker_context() as inner:
            await inner.clock.advance(1000)
            assert (round(outer.clock.seconds), round(inner.clock.seconds)) == (1100, 1000)
        await outer.clock.advance(100)
        assert outer.clock.seconds == pytest.approx(1200)
    await passes_as_outside()


async def test_resetting(fake_broker: FakeBroker) -> None:
    fake_broker.clock.auto_advance()
    await asyncio.sleep(1000)
    fake_broker.reset()
    assert fake_broker.clock.seconds == 0.0
    await passes_as_outside()
    await fake_broker.clock.advance(10)
    assert fake_broker.clock.seconds == pytest.approx(10)


def test_nothing_is_left_of_a_loop_that_did_not_skip() -> None:
    loop = asyncio.SelectorEventLoop()
    before = dict(vars(loop))

    async def main() -> None:
        with fake_broker_context() as broker:
            await broker.clock.advance(0)
            assert _clock.is_virtual(loop)

    loop.run_until_complete(main())
    after = {name: value for name, value in vars(loop).items() if name in ("time", "run_in_executor", "_selector")}
    assert after == {"_selector": before["_selector"]}
    assert not _clock.is_virtual(loop)
    loop.close()


def test_loops_are_not_kept() -> None:
    def main() -> weakref.ref[Any]:
        with fake_broker_context() as broker, asyncio.Runner() as runner:
            runner.run(broker.clock.advance(1000))
            return weakref.ref(runner.get_loop())

    loop = main()
    gc.collect()
    assert loop() is None


async def test_large_times(fake_broker: FakeBroker) -> None:
    """A timer is due at its time, where a float cannot hold the nanoseconds; a loop must not spin until it is."""
    clock, loop = fake_broker.clock, asyncio.get_running_loop()
    await clock.advance(0)
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1
        if not done.done():
            loop.call_soon(count)

    for seconds in (1e7, 1.7e9, 30 * YEAR, 1e12):
        await clock.advance(seconds)
        for delay in (0.0, 1e-9, 0.001, 0.1, 1.0):
            asked = 0
            real = time_of(loop).select

            def select(timeout: float | None, real: Any = real) -> list[Any]:
                nonlocal asked
                asked += 1
                return real(timeout)  # type: ignore[no-any-return]

            loop._selector.select = select  # type: ignore[attr-defined]
            done = loop.create_future()
            loop.call_later(delay, done.set_result, None)
            clock.auto_advance()
            await done
            clock.auto_advance(False)
            assert asked < 10, (seconds, delay)
    assert math.isclose(clock.seconds, 1e7 + 1.7e9 + 30 * YEAR + 1e12, rel_tol=1e-6)


async def test_who_waits_without_a_pause(fake_broker: FakeBroker) -> None:
    """Time does not stand still for good for what only yields."""
    await fake_broker.clock.advance(0)
    loop = asyncio.get_running_loop()
    ends = loop.time() + 0.01
    while loop.time() < ends:  # noqa: ASYNC110 - what is tested
        await asyncio.sleep(0)


def test_no_task_advances_the_clock() -> None:
    """What advances it is not in line with others, cannot be cancelled, and does not keep a loop from ending."""

    async def main(broker: FakeBroker) -> None:
        loop = asyncio.get_running_loop()
        step: Any = loop.call_soon

        def shuffled(*args: Any, **kwargs: Any) -> Any:
            handle = step(*args, **kwargs)
            random.shuffle(loop._ready)  # type: ignore[attr-defined]
            return handle

        loop.call_soon = shuffled  # type: ignore[method-assign, assignment]
        broker.stub("work", raises=CallTimeoutError)
        broker.clock.auto_advance()
        before = asyncio.all_tasks()
        async with RMQClient() as client:
            for _ in range(20):
                with pytest.raises(CallTimeoutError):
                    await client.options(timeout=100).call("work")
        assert asyncio.all_tasks() == before
        gone = asyncio.ensure_future(broker.clock.advance(50))
        await asyncio.sleep(0)
        gone.cancel()
        for task in [asyncio.ensure_future(broker.clock.advance(9e9)) for _ in range(3)]:
            task.add_done_callback(lambda _: None)
        broker.clock.auto_advance(False)

    with fake_broker_context() as broker:
        asyncio.run(main(broker))


def test_uvloop_is_refused() -> None:
    async def main() -> None:
        with fake_broker_context() as broker:
            with pytest.raises(RuntimeError, match=r"uvloop\.Loop, which has a clock of its own"):
                await broker.clock.advance(1)
            with pytest.raises(RuntimeError, match="run tests that advance the clock without uvloop"):
                broker.clock.auto_advance()

    async def by_a_mark() -> None:
        with fake_broker_context(auto_advance=True), pytest.raises(RuntimeError, match="without uvloop"):
            await RMQClient().connect()

    uvloop.run(main())
    uvloop.run(by_a_mark())


def test_other_selectors() -> None:
    with fake_broker_context() as broker:
        broker.stub("work", raises=CallTimeoutError)
        for selector in (selectors.SelectSelector(), selectors.PollSelector()):
            loop = asyncio.SelectorEventLoop(selector)
            loop.run_until_complete(use(broker))
            loop.close()
            broker.reset()


class Cases(unittest.IsolatedAsyncioTestCase):
    def setUp(self) -> None:
        self.broker = self.enterContext(fake_broker_context())

    async def test_time(self) -> None:
        await use(self.broker)


def test_unittest() -> None:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Cases).run(result)
    assert (result.testsRun, result.failures, result.errors) == (1, [], [])


@pytest.mark.parametrize("debug", [False, True])
def test_asyncio_in_its_debug_mode(debug: bool) -> None:
    with fake_broker_context() as broker:
        asyncio.run(use(broker), debug=debug)


def test_engines_ask_one_clock() -> None:
    """What takes the time from elsewhere measures work as it is done, and would not follow the clock of a test."""
    own = Path(_clock.__file__).parent
    allowed = {"_server/streams.py", "_server/child_stacks.py", "_observability/loop_monitor.py"}
    asks = {
        path.relative_to(own).as_posix()
        for part in ("_server", "_client", "_observability", "_concurrency", "_reporting")
        for path in (own / part).glob("*.py")
        if re.search(r"from time import .*monotonic|time\.monotonic|asyncio\.wrap_future", path.read_text("utf-8"))
    }
    assert asks == allowed | {"_concurrency/daemon_threads.py"}
