"""Where a RabbitMQ comes from: the first of these that works.

1. the URL in ``RABIBRIDGE_TEST_URL``: a broker that you run;
2. an installed ``rabbitmq-server``: a private node of it; ``RABIBRIDGE_TEST_SERVER`` names another than the usual one;
3. Docker Compose, with a daemon that answers: a container;
4. ``apt-get install rabbitmq-server``, where that was asked for and we are root.
"""

from __future__ import annotations

import os

from rabibridge_testing._servers.base import Broker, BrokerError, GivenBroker
from rabibridge_testing._servers.private import PrivateNode, find_server
from rabibridge_testing.servers import URL_VARIABLE
from tools.apt import apt_install
from tools.broker.cluster import PrivateCluster
from tools.broker.compose import ComposeNode, compose_works

__all__ = ["URL_VARIABLE", "provide_broker", "provide_cluster", "provide_node"]


def provide_broker(*, allow_install: bool = False, schedulers: int | None = 2) -> Broker | None:
    """Find or make a running broker.

    Args:
        allow_install: install RabbitMQ with apt where nothing else works and we are root.
        schedulers: threads of a private node; None: one per core.

    Returns:
        A broker that answers, to be stopped by the caller; None where this machine can provide none.

    Raises:
        BrokerError: there is one, and it does not start.
    """
    if url := os.environ.get(URL_VARIABLE):
        broker: Broker | None = GivenBroker(url)
    else:
        broker = provide_node(allow_install=allow_install, schedulers=schedulers)
    if broker is not None:
        broker.start()
    return broker


def provide_node(*, allow_install: bool = False, schedulers: int | None = 2) -> Broker | None:
    """Make a broker that may be killed and restarted; it is not started yet. Arguments as for `provide_broker`."""
    if find_server() is not None:
        return PrivateNode(schedulers=schedulers)
    if compose_works():
        return ComposeNode()
    if allow_install and _install():
        return PrivateNode(schedulers=schedulers)
    return None


def provide_cluster(size: int = 3) -> PrivateCluster | None:
    """Make a cluster of private nodes; it is not started yet. None where no ``rabbitmq-server`` is installed."""
    return PrivateCluster(size) if find_server() is not None else None


def _install() -> bool:
    if not apt_install("rabbitmq-server"):
        return False
    if find_server() is None:
        raise BrokerError("rabbitmq-server was installed, and yet is nowhere to be found")
    return True
