from __future__ import annotations

from typing import TYPE_CHECKING

import aiormq
import pytest

from rabibridge._transport.transport import RabbitMQTransport
from rabibridge_core.settings import load_settings
from rabibridge_testing.conformance.harness import Bench
from tests.rabbitmq.support import Stage
from tests.rabbitmq.users import Users
from tests.rabbitmq.workers import Workers
from tests.support.processes import Processes
from tools.broker import GivenBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tools.broker import Broker


@pytest.fixture
async def stage(vhost_url: str) -> AsyncIterator[Stage]:
    """A virtual host with clients and servers that are closed after the test."""
    stage = Stage(vhost_url)
    yield stage
    await stage.close()


@pytest.fixture
async def bench(vhost_url: str) -> AsyncIterator[Bench]:
    """Transports on a virtual host, closed after the test."""

    async def make() -> RabbitMQTransport:
        return RabbitMQTransport(load_settings(url=vhost_url), "bench")

    bench = Bench(make)
    yield bench
    await bench.close()


@pytest.fixture
async def raw(vhost_url: str) -> AsyncIterator[aiormq.abc.AbstractChannel]:
    """A channel of another program on that virtual host, with confirms."""
    async with await aiormq.connect(vhost_url) as connection:
        yield await connection.channel()


@pytest.fixture
async def users(governed: Broker, vhost_url: str) -> AsyncIterator[Users]:
    """Users with few permissions on that virtual host, gone after the test."""
    users = Users(governed, vhost_url)
    yield users
    await users.close()


@pytest.fixture
def governed(rabbitmq: Broker) -> Broker:
    """The shared broker, where rabbitmqctl can be run on it."""
    if isinstance(rabbitmq, GivenBroker):
        pytest.skip("rabbitmqctl cannot be run on a broker that is only known by its URL")
    return rabbitmq


@pytest.fixture
async def workers(vhost_url: str, unique_name: Callable[[str], str], tmp_path: Path) -> AsyncIterator[Workers]:
    """Server processes on the virtual host of the test, gone after it."""
    async with Processes(tmp_path) as processes:
        yield Workers(processes, vhost_url, unique_name)
