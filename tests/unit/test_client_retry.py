"""A client that sends refused calls again: the calls that it saves, and the requests that it does not send."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import CallTimeoutError, QueueFullError, RetryRefused, RMQClient
from rabibridge_core.plugins import hookimpl, plugin_manager
from tests.support.waiting import longer

if TYPE_CHECKING:
    from rabibridge_testing import FakeBroker

SOON = RetryRefused(attempts=100, base=0.001, cap=0.01, burst=1000)


class Listener:
    def __init__(self) -> None:
        self.sent: list[str] = []
        self.finished: list[tuple[str, BaseException | None]] = []

    @hookimpl
    def rabibridge_call_sent(self, correlation_id: str) -> None:
        self.sent.append(correlation_id)

    @hookimpl
    def rabibridge_call_finished(self, correlation_id: str, error: BaseException | None) -> None:
        self.finished.append((correlation_id, error))


async def test_a_burst_is_worked_off(fake_broker: FakeBroker) -> None:
    async def work(number: int) -> int:
        await asyncio.sleep(0)
        return number

    fake_broker.add_service(work, queue_size=2, fetch_size=1)
    async with RMQClient(retry=SOON) as client:
        calls = [client.remote_call("work", (number,), timeout=60) for number in range(20)]
        assert await asyncio.gather(*calls) == list(range(20))
        assert client.pending == 0
    assert len(fake_broker.calls) > 20


async def test_a_storm_is_not_multiplied(fake_broker: FakeBroker) -> None:
    fake_broker.refuse("work")
    retry = RetryRefused(attempts=10, base=0.0001, cap=0.001, ratio=0.1, burst=10)

    async def caller(client: RMQClient) -> None:
        for _ in range(2):
            with pytest.raises(QueueFullError):
                await client.remote_call("work", timeout=60)

    async with RMQClient(retry=retry) as client:
        await asyncio.gather(*(caller(client) for _ in range(1000)))
        assert client.pending == 0
    assert 2000 < len(fake_broker.calls) <= 2000 * 1.1 + 10


@pytest.mark.parametrize(("of_the_client", "of_the_call"), [(None, None), (SOON, False), (None, False)])
async def test_it_is_off(
    fake_broker: FakeBroker, of_the_client: RetryRefused | None, of_the_call: RetryRefused | None
) -> None:
    fake_broker.refuse("work")
    async with RMQClient(retry=of_the_client) as client:
        with pytest.raises(QueueFullError) as full:
            await client.remote_call("work", retry=of_the_call)
        assert (full.value.attempts, full.value.retry_after) == (1, None)
        assert (await client.try_remote_call("work", retry=of_the_call))[0] is False
    assert len(fake_broker.calls) == 2


@pytest.mark.parametrize("of_the_client", [None, RetryRefused(attempts=1)])
async def test_a_call_has_its_own(fake_broker: FakeBroker, of_the_client: RetryRefused | None) -> None:
    fake_broker.add_service(_double)
    fake_broker.refuse("_double", times=4)
    async with RMQClient(retry=of_the_client) as client:
        assert await client.remote_call("_double", (2,), retry=SOON) == 4
        assert (await client.try_remote_call("_double", (3,), retry=SOON)) == (True, (0, 6))
    assert len({call.correlation_id for call in fake_broker.calls}) == 2
    assert len(fake_broker.calls) == 6


async def _double(number: int) -> int:
    return 2 * number


async def test_plug_ins_hear_of_one_call(fake_broker: FakeBroker) -> None:
    listener = Listener()
    plugin_manager().register(listener)
    try:
        fake_broker.add_service(_double)
        fake_broker.refuse("_double", times=3)
        async with RMQClient(retry=SOON) as client:
            assert await client.remote_call("_double", (2,)) == 4
    finally:
        plugin_manager().unregister(listener)
    assert [(one, None) for one in listener.sent] == listener.finished
    assert len(listener.sent) == 1


async def test_its_time_goes_on_while_it_waits(fake_broker: FakeBroker) -> None:
    release = asyncio.Event()

    async def work() -> None:
        await release.wait()

    fake_broker.add_service(work)
    async with RMQClient(retry=RetryRefused(base=0.01, cap=0.01)) as client:
        timeouts = longer(0.5)
        while True:
            timeout = next(timeouts)
            before = len(fake_broker.calls)
            fault = fake_broker.refuse("work", times=2)
            with pytest.raises(CallTimeoutError, match=rf"within {timeout:g} s") as late:
                await client.remote_call("work", timeout=timeout)
            assert late.value.timeout == timeout
            times: list[Any] = [call.timeout for call in fake_broker.calls[before:]]
            if len(times) == 3:  # it was refused twice before its time was over
                break
            fault.stop()
    assert len(times) == 3
    assert times[1] != times[0]
    assert times[2] < times[1]
