from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.rabbitmq.processes import Workers
from tests.rabbitmq.support import Stage
from tools.broker import GivenBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tools.broker import Broker


@pytest.fixture
async def stage(vhost_url: str) -> AsyncIterator[Stage]:
    """A virtual host with clients and servers that are closed after the test."""
    stage = Stage(vhost_url)
    yield stage
    await stage.close()


@pytest.fixture
def governed(rabbitmq: Broker) -> Broker:
    """The shared broker, where rabbitmqctl can be run on it."""
    if isinstance(rabbitmq, GivenBroker):
        pytest.skip("rabbitmqctl cannot be run on a broker that is only known by its URL")
    return rabbitmq


@pytest.fixture
async def workers(vhost_url: str, unique_name: Callable[[str], str]) -> AsyncIterator[Workers]:
    """Server processes on the virtual host of the test, gone after it."""
    workers = Workers(vhost_url, unique_name)
    yield workers
    await workers.close()
