"""A Redis for the tests that need one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rabibridge_testing._fixtures import missing
from rabibridge_testing._servers.redis import find_redis_server
from rabibridge_testing.servers import NO_REDIS, provide_redis
from tools.broker.compose import ComposeRedis, compose_works

if TYPE_CHECKING:
    from collections.abc import Iterator


def needs_redis_server() -> None:
    """Skip the test where no server program is installed; fail in CI."""
    if find_redis_server() is None:
        missing(NO_REDIS)


@pytest.fixture(scope="session")
def redis_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a Redis that runs as long as the tests."""
    if provide_redis() is None and compose_works():
        with ComposeRedis() as container:
            yield container.url
    else:
        yield request.getfixturevalue("redis").url
