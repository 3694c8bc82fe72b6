"""The clock of the fake broker: what waits takes no time, and nothing ends sooner or later than it would outside."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import CallTimeoutError, QueueFullError, RetryRefused, RMQClient, RMQServer, current_call, register_call
from rabibridge_testing import FakeBroker, fake_broker_context

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("clean_place")
auto_advance = pytest.mark.fake_broker(auto_advance=True)
PATIENCE = 60.0
"""What takes no time takes less than this, in real seconds, on the slowest machine."""


@pytest.fixture(autouse=True)
def no_time() -> Iterator[None]:
    """Fail a test that has waited: all of them let more time pass than this."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < PATIENCE


async def sleep(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


async def test_time_passes_to_the_second(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(sleep)
    clock = fake_broker.clock
    async with RMQClient() as client:
        await clock.advance(0)
        ends = asyncio.ensure_future(client.call("sleep", 3000))
        fails = asyncio.ensure_future(client.options(timeout=600).call("sleep", 3000))
        await clock.advance(599.999)
        assert not fails.done()
        await clock.advance(0.001)
        assert isinstance(fails.exception(), CallTimeoutError)
        await clock.advance(timedelta(hours=1))
        assert await ends == 3000
    assert clock.seconds == pytest.approx(4200)


async def test_a_call_made_before_the_first_use(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(sleep)
    async with RMQClient() as client:
        call = asyncio.ensure_future(client.options(timeout=600).call("sleep", 3000))
        await fake_broker.wait_for_call("sleep")
        await fake_broker.clock.advance(610)  # its deadline is as precise as outside: 8 s of 10 minutes
        assert isinstance(call.exception(), CallTimeoutError)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "1", True])
async def test_no_way_back(fake_broker: FakeBroker, seconds: Any) -> None:
    with pytest.raises(ValueError, match="cannot be advanced by"):
        await fake_broker.clock.advance(seconds)


@auto_advance
async def test_auto_advance(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(sleep)
    async with RMQClient() as client:
        assert await client.call("sleep", 3500) == 3500
        with pytest.raises(CallTimeoutError):
            await client.options(timeout=600).call("sleep", 3000)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1000):
                await client.call("sleep", 3000)
    assert fake_broker.clock.seconds == pytest.approx(3500 + 600 + 1000)


async def test_auto_advance_by_hand(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(sleep)
    fake_broker.clock.auto_advance()
    async with RMQClient() as client:
        assert await client.call("sleep", 3000) == 3000
        fake_broker.clock.auto_advance(False)
        call = asyncio.ensure_future(client.call("sleep", 3000))
        await asyncio.sleep(0.01)
        assert not call.done()
        await fake_broker.clock.advance(3600)
        assert call.done()


def test_in_a_context() -> None:
    async def main() -> float:
        async with RMQClient() as client:
            return float(await client.call("sleep", 3000))

    with fake_broker_context(auto_advance=True) as broker:
        broker.add_service(sleep)
        assert asyncio.run(main()) == 3000


@auto_advance
async def test_deadlines_of_workers(fake_broker: FakeBroker) -> None:
    seen: list[float | None] = []

    async def look() -> None:
        seen.append(current_call().time_left)
        await asyncio.sleep(100)
        seen.append(current_call().time_left)

    fake_broker.add_service(look)
    async with RMQClient() as client:
        await client.options(timeout=600).call("look")
    assert seen == [pytest.approx(600), pytest.approx(500)]


async def test_what_waits_in_a_queue_expires(fake_broker: FakeBroker) -> None:
    ran: list[int] = []
    free = asyncio.Event()

    async def work(number: int) -> int:
        ran.append(number)
        await free.wait()
        return number

    fake_broker.add_service(work, fetch_size=1, timeout=300)
    async with RMQClient() as client:
        first = asyncio.ensure_future(client.options(timeout=3600).call("work", 1))
        second = asyncio.ensure_future(client.options(timeout=3600).call("work", 2))
        await fake_broker.clock.advance(299)
        third = asyncio.ensure_future(client.options(timeout=3600).call("work", 3))
        await fake_broker.clock.advance(2)
        free.set()
        assert await first == 1
        assert await third == 3
        await fake_broker.clock.advance(3600)
        assert isinstance(second.exception(), CallTimeoutError)
    assert ran == [1, 3]


@auto_advance
async def test_retries_and_their_budget(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(sleep)
    retry = RetryRefused(attempts=1000, base=50, cap=600, burst=5, ratio=0)
    async with RMQClient() as client:
        with fake_broker.refuse("sleep", QueueFullError, times=3):
            assert await client.options(timeout=86_400, retry=retry).call("sleep", 0) == 0
        with fake_broker.refuse("sleep", QueueFullError), pytest.raises(QueueFullError):
            await client.options(timeout=86_400, retry=retry).call("sleep", 0)
    assert len(fake_broker.calls) == 1 + 3 + 1 + 2
    assert fake_broker.clock.seconds > 1


@auto_advance
async def test_limits_of_services(fake_broker: FakeBroker, caplog: pytest.LogCaptureFixture) -> None:
    @register_call(slow_call=60, run_timeout=600)
    async def work() -> None:
        await asyncio.Event().wait()

    server = RMQServer()
    server.add_service(work)
    with caplog.at_level(logging.WARNING):
        async with server.serving(), RMQClient() as client:
            with pytest.raises(Exception, match="run_timeout") as raised:
                await client.options(timeout=None).call("work")
    assert type(raised.value).__name__ == "RunTimeoutError"
    (slow,) = [record for record in caplog.records if getattr(record, "rb_event", "") == "call.slow"]
    assert 60 <= slow.rb_duration < 90  # type: ignore[attr-defined]


@auto_advance
async def test_a_drain_that_ends(fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_DRAIN_TIMEOUT", "900")
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    server = RMQServer()
    server.add_service(work)
    async with RMQClient() as client:
        async with server.serving():
            call = asyncio.ensure_future(client.options(timeout=3000).call("work"))
            await started.wait()
            began = fake_broker.clock.seconds
        assert fake_broker.clock.seconds - began == pytest.approx(900, abs=1)
        call.cancel()


async def test_delays_of_faults(fake_broker: FakeBroker) -> None:
    fake_broker.stub("work", returns=1)
    async with RMQClient() as client:
        with fake_broker.delay(500, "work"):
            call = asyncio.ensure_future(client.options(timeout=600).call("work"))
            await fake_broker.clock.advance(499)
            assert not call.done()
            await fake_broker.clock.advance(1)
            assert call.done()


async def test_waiting_without_advancing_takes_its_time(fake_broker: FakeBroker) -> None:
    """The clock stands still while something runs, not while everything waits: a test cannot hang by it."""
    fake_broker.stub("work", raises=CallTimeoutError)
    async with RMQClient() as client:
        await fake_broker.clock.advance(10)
        with pytest.raises(CallTimeoutError):
            await client.options(timeout=0.05).call("work")
        assert fake_broker.clock.seconds == pytest.approx(10.05, abs=0.001)


async def test_signatures_and_idempotency_keys_age(fake_broker: FakeBroker) -> None:
    ran: list[int] = []

    async def work(number: int) -> int:
        ran.append(number)
        return number

    fake_broker.add_service(work, idempotent=True)
    async with RMQClient() as client:
        calls = client.options(timeout=60, idempotent=True, idempotency_key="one")
        assert await calls.call("work", 1) == 1
        assert await calls.call("work", 1) == 1
        assert ran == [1]
        await fake_broker.clock.advance(timedelta(days=2))
        assert await calls.call("work", 1) == 1
    assert ran == [1, 1]
