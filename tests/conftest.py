from __future__ import annotations

import pytest

from tools.broker.fixtures import (
    BROKER_FIXTURES,
    _shared_own_cluster,
    _shared_own_node,
    amqp_url,
    own_cluster,
    own_node,
    rabbitmq,
    unique_name,
    vhost_url,
)

__all__ = [
    "_shared_own_cluster",
    "_shared_own_node",
    "amqp_url",
    "own_cluster",
    "own_node",
    "rabbitmq",
    "unique_name",
    "vhost_url",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and not BROKER_FIXTURES.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.rabbitmq)
