"""The pytest plug-in: the fixture ``fake_broker``."""

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
    """Give every client and server made in this test a broker in memory, whatever the settings say, and return it.

    It is a plain synchronous fixture: it works with every plug-in that runs async tests on asyncio.
    """
    broker = FakeBroker()
    with override_transport(broker.transport_for):
        yield broker
    broker.shut_down()
