from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.chaos.broker import ChaosBroker
from tests.chaos.rig import Rig
from tools.broker import GivenBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tools.broker import Broker


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "chaos" in item.path.parts:
            item.add_marker(pytest.mark.chaos)


@pytest.fixture(scope="session")
def chaos_broker(_shared_own_node: Broker) -> ChaosBroker:
    """A broker that may be killed."""
    if isinstance(_shared_own_node, GivenBroker):
        pytest.skip("a broker that is only known by its URL cannot be killed")
    return ChaosBroker(_shared_own_node)


@pytest.fixture
async def rig(own_node: Broker, chaos_broker: ChaosBroker, tmp_path: Path) -> AsyncIterator[Rig]:
    """Workers, clients and load on a virtual host of their own."""
    async with Rig(chaos_broker, tmp_path) as rig:
        yield rig


@pytest.fixture
async def quick_rig(own_node: Broker, chaos_broker: ChaosBroker, tmp_path: Path) -> AsyncIterator[Rig]:
    """The same with a heartbeat of one second: a silent connection is noticed soon."""
    async with Rig(chaos_broker, tmp_path, heartbeat=1) as rig:
        yield rig
