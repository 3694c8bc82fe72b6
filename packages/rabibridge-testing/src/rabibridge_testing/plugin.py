"""The pytest plug-in: provides the fixture ``fake_broker``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rabibridge_core.plugins.resolver import override_transport
from rabibridge_testing._fake.fake_broker import FakeBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["fake_broker"]

pytest.register_assert_rewrite("rabibridge_testing.conformance")


@pytest.fixture
def fake_broker() -> Iterator[FakeBroker]:
    """Connect every client and server that connects in this test to an in-memory broker, and return that broker.

    Those that a module made when it was imported are among them, unless they were connected before the test. The
    configured broker is not used. The fixture is synchronous, so it works with every pytest plug-in that runs async
    tests on asyncio.
    """
    broker = FakeBroker()
    with override_transport(broker.transport_for):
        yield broker
    broker.shut_down()
