"""The fixture for a broker with TLS."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rabibridge_testing._servers.private import find_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.tls_broker import TLSBroker


@pytest.fixture(scope="session")
def tls_broker() -> Iterator[TLSBroker]:
    """A node with TLS, its authority and its certificates; all tests of a process share it."""
    if find_server() is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("a broker with TLS needs an installed rabbitmq-server")
    from tests.support.tls_broker import TLSBroker

    broker = TLSBroker()
    yield broker
    broker.close()
