"""Real brokers for tests: what the fixtures ``rabbitmq`` and ``redis`` use, for scripts and fixtures of your own.

A broker is the first of these that can be had: one whose URL is in ``RABIBRIDGE_TEST_URL`` (of Redis,
``RABIBRIDGE_TEST_REDIS_URL``); a private node of an installed ``rabbitmq-server`` (``redis-server``,
``valkey-server``); a container, if testcontainers is installed (``rabibridge-testing[containers]``) and Docker answers.

A private node has its own name, ports, cookie and data on the loopback interface, and disturbs no other one on the
machine. It ends, and its data with it, when it is stopped or when the process that started it is gone, even by SIGKILL.
"""

from __future__ import annotations

import os

from rabibridge_testing._servers.base import Broker, BrokerError, GivenBroker
from rabibridge_testing._servers.containers import ContainerNode, ContainerRedis, containers_work
from rabibridge_testing._servers.private import PrivateNode, find_server
from rabibridge_testing._servers.redis import GivenRedis, PrivateRedis, RedisServer, find_redis_server

__all__ = [
    "NO_RABBITMQ",
    "NO_REDIS",
    "REDIS_URL_VARIABLE",
    "URL_VARIABLE",
    "Broker",
    "BrokerError",
    "GivenBroker",
    "PrivateNode",
    "PrivateRedis",
    "RedisServer",
    "provide_rabbitmq",
    "provide_redis",
]

URL_VARIABLE = "RABIBRIDGE_TEST_URL"
REDIS_URL_VARIABLE = "RABIBRIDGE_TEST_REDIS_URL"

_DOCKER = "install rabibridge-testing[containers] where Docker runs"
NO_RABBITMQ = f"no RabbitMQ: install rabbitmq-server, {_DOCKER}, or set {URL_VARIABLE}"
NO_REDIS = f"no Redis: install redis-server or valkey-server, {_DOCKER}, or set {REDIS_URL_VARIABLE}"


def provide_rabbitmq() -> Broker | None:
    """Return a RabbitMQ, to be started and stopped as a context manager; ``None`` where none can be had.

    Raises:
        BrokerError: RABIBRIDGE_TEST_SERVER names something that cannot be run.
    """
    if url := os.environ.get(URL_VARIABLE):
        return GivenBroker(url)
    if find_server() is not None:
        return PrivateNode()
    return ContainerNode() if containers_work() else None


def provide_redis() -> RedisServer | None:
    """Return a Redis or Valkey, to be started and stopped as a context manager; ``None`` where none can be had."""
    if url := os.environ.get(REDIS_URL_VARIABLE):
        return GivenRedis(url)
    if find_redis_server() is not None:
        return PrivateRedis()
    return ContainerRedis() if containers_work() else None
