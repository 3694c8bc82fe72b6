from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.contenders.base import Service, echo, load
from benchmarks.processes import Program
from rabibridge import RMQClient

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from benchmarks.contenders.base import Caller
    from rabibridge_testing.fake import FakeBroker

_FAKE_CALLS = 100
_ONE_BY_ONE = 100
_IN_FLIGHT = 128
_MANY = 20 * _IN_FLIGHT


@pytest.fixture
def rabbit_caller(runner: asyncio.Runner, vhost_url: str) -> Iterator[Caller]:
    """A client in this process; the server has one of its own."""
    with Program("serve", "ours", vhost_url):
        connecting = load("ours").caller(vhost_url, Service())
        yield runner.run(connecting.__aenter__())
        runner.run(connecting.__aexit__(None, None, None))


@pytest.mark.benchmark(group=f"fake broker, {_FAKE_CALLS} calls")
@pytest.mark.parametrize("in_flight", [1, _FAKE_CALLS])
def test_fake(
    fake_broker: FakeBroker, runner: asyncio.Runner, measure_calls: Callable[..., None], in_flight: int
) -> None:
    fake_broker.add_service(echo, queue_size=1000)
    client = RMQClient()
    runner.run(client.connect())
    measure_calls(lambda x: client.remote_call("echo", (x,), timeout=10), _FAKE_CALLS, in_flight)
    runner.run(client.close())


@pytest.mark.benchmark(group=f"RabbitMQ, {_ONE_BY_ONE} calls, one at a time")
def test_rabbitmq_one_at_a_time(rabbit_caller: Caller, measure_calls: Callable[..., None]) -> None:
    measure_calls(rabbit_caller.call, _ONE_BY_ONE, 1)


@pytest.mark.benchmark(group=f"RabbitMQ, {_MANY} calls, {_IN_FLIGHT} in flight")
def test_rabbitmq_many_in_flight(rabbit_caller: Caller, measure_calls: Callable[..., None]) -> None:
    measure_calls(rabbit_caller.call, _MANY, _IN_FLIGHT)
