"""A Redis for the tests that need one."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tools.redis_server import URL_VARIABLE, PrivateRedis, find_redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator


def needs_redis_server() -> None:
    """Skip the test where no server program is installed; fail in CI."""
    if find_redis_server() is None:
        reason = f"no Redis: install redis-server or valkey-server, or set {URL_VARIABLE}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a Redis that runs as long as the tests."""
    if url := os.environ.get(URL_VARIABLE):
        yield url
        return
    needs_redis_server()
    with PrivateRedis() as server:
        yield server.url
