from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from rabibridge import RMQClient
from tests.support.waiting import soon
from tests.workers.support import Program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from rabibridge_testing._servers.base import Broker


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if sys.platform != "linux":
        for item in items:
            if "tests/workers" in item.path.as_posix():
                item.add_marker(pytest.mark.skip(reason="looks at processes in /proc"))


@pytest.fixture(scope="module")
def vhost(rabbitmq: Broker) -> str:
    """The URL of a virtual host for the tests of a file."""
    return rabbitmq.fresh_vhost()


@pytest.fixture
def program(vhost: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """A folder with services, for one test."""
    program = Program(tmp_path_factory.mktemp("program"), vhost)
    yield program
    program.close()


@pytest.fixture
async def client(vhost: str) -> AsyncIterator[RMQClient]:
    """A connected client on the virtual host of the file."""
    async with RMQClient(url=vhost) as client:
        await soon(client.connect())
        yield client
