"""A RabbitMQ of our own for tests, the demo and the benchmarks.

`provide_broker` finds or starts one, `PrivateNode` is a node that may be killed and restarted, `PrivateCluster` several
of them. On the command line, ``python -m tools.broker`` starts one, prints its URL and keeps it until Ctrl-C.
"""

from __future__ import annotations

from rabibridge_testing._servers.base import Broker, BrokerError, GivenBroker
from rabibridge_testing._servers.private import PrivateNode
from tools.broker.cluster import PrivateCluster
from tools.broker.compose import ComposeNode
from tools.broker.provide import provide_broker, provide_cluster, provide_node

__all__ = [
    "Broker",
    "BrokerError",
    "ComposeNode",
    "GivenBroker",
    "PrivateCluster",
    "PrivateNode",
    "provide_broker",
    "provide_cluster",
    "provide_node",
]
