from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.contenders.base import Service, load
from benchmarks.processes import Program

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator

    from benchmarks.contenders.base import Caller

_ONE_BY_ONE = 100
_IN_FLIGHT = 128
_MANY = 20 * _IN_FLIGHT


@pytest.fixture
def rabbit_caller(runner: asyncio.Runner, vhost_url: str) -> Iterator[Caller]:
    """A client in this process; the server runs in another process."""
    with Program("serve", "ours", vhost_url):
        connecting = load("ours").caller(vhost_url, Service())
        yield runner.run(connecting.__aenter__())
        runner.run(connecting.__aexit__(None, None, None))


@pytest.mark.benchmark(group=f"RabbitMQ, {_ONE_BY_ONE} calls, one at a time")
def test_rabbitmq_one_at_a_time(rabbit_caller: Caller, measure_calls: Callable[..., None]) -> None:
    measure_calls(rabbit_caller.call, _ONE_BY_ONE, 1)


@pytest.mark.benchmark(group=f"RabbitMQ, {_MANY} calls, {_IN_FLIGHT} in flight")
def test_rabbitmq_many_in_flight(rabbit_caller: Caller, measure_calls: Callable[..., None]) -> None:
    measure_calls(rabbit_caller.call, _MANY, _IN_FLIGHT)
