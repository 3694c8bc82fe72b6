from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from rabibridge_core._reporting import limited_log
from tests.support.redis_fixture import redis_url
from tests.support.tls_fixture import tls_broker
from tools.broker.fixtures import (
    BROKER_FIXTURES,
    _shared_own_cluster,
    _shared_own_node,
    amqp_url,
    own_cluster,
    own_node,
    unique_name,
    vhost_url,
)
from tools.broker.provide import URL_VARIABLE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "_shared_own_cluster",
    "_shared_own_node",
    "amqp_url",
    "own_cluster",
    "own_node",
    "redis_url",
    "tls_broker",
    "unique_name",
    "vhost_url",
]

_BROKERS = BROKER_FIXTURES | {"tls_broker"}

# How long an example takes depends on what else the machine does.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


@pytest.fixture(autouse=True)
def _lines_are_not_limited_by_those_of_other_tests() -> None:
    for limited in list(limited_log._all):
        limited._forked()


@pytest.fixture(autouse=True)
def _logging_is_set_up_as_before() -> Iterator[None]:
    """Undo what a program that a test ran in this process has set: its level would keep the records of later tests."""
    loggers = [logging.root, logging.getLogger("aiormq")]
    before = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and not _BROKERS.isdisjoint(item.fixturenames):
            item.add_marker(pytest.mark.rabbitmq)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many processes ``-n auto`` runs the tests in.

    Each starts nodes of its own, and most tests wait for one: there are more processes than cores. The tests would
    disturb each other on a broker given by URL, so they run there in this process.
    """
    return 0 if os.environ.get(URL_VARIABLE) else min(8, (os.cpu_count() or 1) * 3 // 2)
