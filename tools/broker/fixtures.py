"""Pytest fixtures for brokers, to be imported by a conftest.py, besides ``rabbitmq`` of rabibridge-testing.

Where this machine can provide no RabbitMQ, a test that takes one of them is skipped; it fails where the variable CI is
set.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from rabibridge_testing._fixtures import missing
from rabibridge_testing.servers import NO_RABBITMQ
from tools.broker.provide import provide_cluster, provide_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rabibridge_testing._servers.base import Broker
    from tools.broker.cluster import PrivateCluster

BROKER_FIXTURES = frozenset({"amqp_url", "own_cluster", "own_node", "rabbitmq", "vhost_url"})


@pytest.fixture
def amqp_url(rabbitmq: Broker) -> str:
    """The URL of the shared broker's default virtual host."""
    return rabbitmq.url


@pytest.fixture
def vhost_url(rabbitmq: Broker) -> Iterator[str]:
    """The URL of a virtual host for this test alone.

    A broker given by RABIBRIDGE_TEST_URL has only its own virtual host, which all tests share then: names from
    ``unique_name`` keep them apart.
    """
    url = rabbitmq.fresh_vhost()
    yield url
    rabbitmq.give_back(url)


@pytest.fixture
def unique_name() -> Callable[[str], str]:
    """Turns a service name into one that no other test uses."""
    return lambda stem: f"{stem}_{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def _shared_own_node() -> Iterator[Broker]:
    node = provide_node()
    if node is None:
        missing(NO_RABBITMQ)
    yield node
    node.stop()


@pytest.fixture
def own_node(_shared_own_node: Broker) -> Broker:
    """A broker that the test may kill, start and restart; it runs when the test begins.

    Tests use it one after the other: ``fresh_vhost()`` gives each of them a virtual host of its own.
    """
    if not _shared_own_node.running():
        _shared_own_node.start()
    return _shared_own_node


@pytest.fixture(scope="module")
def _shared_own_cluster() -> Iterator[PrivateCluster]:
    cluster = provide_cluster()
    if cluster is None:
        missing("a cluster needs an installed rabbitmq-server")
    yield cluster
    cluster.stop()


@pytest.fixture
def own_cluster(_shared_own_cluster: PrivateCluster) -> PrivateCluster:
    """A cluster of three nodes, each of which the test may kill and start; all run when the test begins.

    The tests of a file use it one after the other: ``fresh_vhost()`` gives each of them a virtual host of its own.
    """
    _shared_own_cluster.start()
    return _shared_own_cluster
