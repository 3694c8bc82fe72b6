"""``max_wait=`` of a service: no call starts that has waited for longer; others are refused as by a full queue."""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING, NamedTuple

import pytest

from rabibridge import (
    CallTimeoutError,
    QueueFullError,
    RegistrationError,
    RetryRefused,
    RMQClient,
    RMQServer,
)
from rabibridge.errors import QueueFullError as RabbitMQQueueFullError
from rabibridge_core._services.limits import MAX_WAIT_QUEUE_SIZE, ServiceLimits
from rabibridge_core._services.schema import ServiceSchema

if TYPE_CHECKING:
    from rabibridge_core._server.statistics import ServiceStatistics
    from rabibridge_testing import FakeBroker

pytestmark = [pytest.mark.usefixtures("clean_place"), pytest.mark.fake_broker(auto_advance=True)]


class Held:
    """A function that takes a second, and notes its calls in the order in which they started."""

    def __init__(self) -> None:
        self.started: list[int] = []

    async def held(self, number: int) -> int:
        self.started.append(number)
        await asyncio.sleep(1)
        return number


def _statistics(server: RMQServer) -> ServiceStatistics:
    return server._server.services.statistics_of("held")


async def _end(call: asyncio.Task[object]) -> tuple[type, float]:
    """Return how a call ended, and when."""
    await asyncio.wait([call])
    return type(call.exception()), asyncio.get_running_loop().time()


@pytest.mark.usefixtures("fake_broker")
async def test_what_waits_in_the_worker_is_refused_when_its_time_is_over() -> None:
    held, server, loop = Held(), RMQServer(), asyncio.get_running_loop()
    server.add_service(held.held, fetch_size=1, max_wait=0.2)
    async with server.serving(), RMQClient() as client:
        first = asyncio.create_task(client.call("held", 1))
        await asyncio.sleep(0.5)
        began, second = loop.time(), asyncio.create_task(client.call("held", 2))
        with pytest.raises(QueueFullError, match=r"waited for 0.2 s, longer than the max_wait of 'held'") as refused:
            await second
        assert loop.time() - began == pytest.approx(0.2, abs=0.01)
        assert refused.value.executed is False
        assert refused.value.retry_after == pytest.approx(0.2, abs=0.01)
        assert (refused.value.func_name, refused.value.attempts) == ("held", 1)
        assert isinstance(refused.value, RabbitMQQueueFullError), "as those that RabbitMQ refuses"
        assert await first == 1
        assert held.started == [1]
        await asyncio.sleep(0)
        counts = _statistics(server).counts()
        assert (counts.succeeded, counts.refused, counts.refused_waiting, counts.refused_late) == (1, 1, 1, 0)


@pytest.mark.usefixtures("fake_broker")
async def test_what_comes_from_the_queue_too_late_is_refused_on_arrival() -> None:
    held, server = Held(), RMQServer()
    server.add_service(held.held, fetch_size=1, fetch_ahead=0, max_wait=0.2)
    async with server.serving(), RMQClient() as client:
        calls = [asyncio.create_task(client.call("held", 1))]
        await asyncio.sleep(0.9)
        calls += [asyncio.create_task(client.call("held", number)) for number in (2, 3)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert results[:2] == [1, 2], "the second one has waited for 0.1 s"
        assert type(results[2]) is RabbitMQQueueFullError
        assert held.started == [1, 2]


@pytest.mark.usefixtures("fake_broker")
async def test_notifications_and_stored_calls_wait_as_long_as_it_takes() -> None:
    held, server = Held(), RMQServer()
    server.add_service(held.held, fetch_size=1, max_wait=0.2)
    async with server.serving(), RMQClient() as client:
        first = asyncio.create_task(client.call("held", 1))
        await asyncio.sleep(0.1)
        await client.notify("held", 2)
        stored = asyncio.create_task(client.options(persistent=True).call("held", 3))
        assert (await first, await stored) == (1, 3)
        assert held.started == [1, 2, 3]


@pytest.mark.usefixtures("fake_broker")
async def test_a_refused_call_is_sent_again_with_retry() -> None:
    held, server = Held(), RMQServer()
    server.add_service(held.held, fetch_size=1, max_wait=0.2)
    async with server.serving(), RMQClient(retry=RetryRefused(attempts=50)) as client:
        assert await asyncio.gather(*(client.call("held", number) for number in range(3))) == [0, 1, 2]


@pytest.mark.usefixtures("fake_broker")
async def test_a_call_whose_own_time_is_over_first_times_out() -> None:
    held, server = Held(), RMQServer()
    server.add_service(held.held, fetch_size=1, max_wait=0.2)
    async with server.serving(), RMQClient() as client:
        first = asyncio.create_task(client.call("held", 1))
        await asyncio.sleep(0.1)
        with pytest.raises(CallTimeoutError):
            await client.options(timeout=0.1).call("held", 2)
        assert await first == 1


@pytest.mark.usefixtures("fake_broker")
async def test_a_stream_that_has_waited_for_too_long_is_refused() -> None:
    async def numbers(count: int):  # type: ignore[no-untyped-def]
        for number in range(count):
            await asyncio.sleep(1)
            yield number

    server = RMQServer()
    server.add_service(numbers, fetch_size=1, max_wait=0.2)
    async with server.serving(), RMQClient() as client, client.stream(numbers, 3) as stream:
        assert await anext(stream) == 0
        with pytest.raises(QueueFullError):
            async with client.stream(numbers, 3) as refused:
                await anext(refused)
        assert [number async for number in stream] == [1, 2]


class _Figures(NamedTuple):
    waits: list[float]
    """How long the calls that ran had waited."""
    refusals: list[float]
    """How soon the others were refused."""
    sent: int
    good: int


async def _under_load(
    load: float, capacity: float, seconds: float, *, max_wait: float, factors: tuple[float, ...] = (1.0,)
) -> _Figures:
    """Offer ``load`` times the capacity; runs take ``factors`` times as long, each for a part of the time."""
    loop, chance, places = asyncio.get_running_loop(), random.Random(19), 8
    made, waits, refusals, good = dict[int, float](), list[float](), list[float](), 0

    async def work(number: int) -> int:
        waits.append(loop.time() - made[number])
        phase = min(int((loop.time() - start) / seconds * len(factors)), len(factors) - 1)
        await asyncio.sleep(places / capacity * factors[phase])
        return number

    async def call(client: RMQClient, number: int) -> None:
        nonlocal good
        began = made[number] = loop.time()
        try:
            await client.options(timeout=5).call("work", number)
            good += 1
        except QueueFullError:
            refusals.append(loop.time() - began)

    server, start = RMQServer(), loop.time()
    server.add_service(work, fetch_size=places, max_wait=max_wait)
    async with server.serving(), RMQClient() as client:
        began, calls = loop.time(), list[asyncio.Task[None]]()
        while loop.time() - began < seconds:
            await asyncio.sleep(chance.expovariate(load * capacity))
            calls.append(asyncio.create_task(call(client, len(calls))))
        await asyncio.gather(*calls)
        counts = server._server.services.statistics_of("work").counts()
    return _Figures(waits, refusals, counts.calls, good)


@pytest.mark.parametrize("capacity", [100.0, 400.0])
@pytest.mark.usefixtures("fake_broker")
async def test_the_wait_stays_below_the_limit_whatever_the_workers_manage(capacity: float) -> None:
    seconds = 8.0
    found = await _under_load(5, capacity, seconds, max_wait=0.2)
    assert max(found.waits) <= 0.201
    assert found.good > 0.95 * capacity * seconds, "and no capacity is lost"
    assert max(found.refusals) <= 0.201
    late = sorted(found.refusals)[len(found.refusals) // 2]
    assert late == 0, "most are refused by their client, at once"
    assert found.sent < 3 * capacity * seconds, "what is refused costs the workers little"


@pytest.mark.usefixtures("fake_broker")
async def test_the_number_of_calls_that_wait_follows_the_capacity() -> None:
    seconds, factors = 9.0, (1.0, 3.0, 0.5)
    found = await _under_load(5, 200, seconds, max_wait=0.2, factors=factors)
    assert max(found.waits) <= 0.201
    assert found.good > 0.93 * sum(200 / factor for factor in factors) * seconds / len(factors)


@pytest.mark.usefixtures("fake_broker")
async def test_nothing_is_refused_below_the_capacity() -> None:
    found = await _under_load(0.7, 200, 10, max_wait=0.5)
    assert found.refusals == []


def _schema(**limits: object) -> ServiceSchema:
    async def served() -> None: ...

    return ServiceSchema.of(served, ServiceLimits(**limits))  # type: ignore[arg-type]


def test_the_queue_is_the_same_for_every_limit() -> None:
    assert _schema(max_wait=0.2).queues == _schema(max_wait=3).queues
    assert _schema(max_wait=0.2).queue_size == MAX_WAIT_QUEUE_SIZE
    assert _schema(max_wait=0.2, queue_size=50).queue_size == 50
    assert (_schema().queue_size, _schema().fetch_ahead) == (None, 0)
    assert [_schema(max_wait=1, fetch_size=size).fetch_ahead for size in (1, 8, 100)] == [4, 8, 100]
    assert _schema(max_wait=1, fetch_ahead=0).fetch_ahead == 0
    assert _schema(max_wait=1, delivery="at-most-once").fetch_ahead == 0


@pytest.mark.parametrize("wrong", [0, -1, math.nan, math.inf, "1", True])
def test_what_the_limit_may_be(wrong: object) -> None:
    with pytest.raises(RegistrationError, match="max_wait"):
        _schema(max_wait=wrong)


async def test_the_limit_is_changed_without_a_new_queue(fake_broker: FakeBroker) -> None:
    held, first, second = Held(), RMQServer(), RMQServer()
    first.add_service(held.held, fetch_size=1, max_wait=0.2)
    second.add_service(held.held, fetch_size=1, max_wait=5)
    async with first.serving(), second.serving(), RMQClient() as client:
        assert await client.call("held", 1) == 1
    assert fake_broker.queues["rpc_async_held"].spec.queue_size == MAX_WAIT_QUEUE_SIZE
