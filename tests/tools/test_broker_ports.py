"""A private node that loses a port to another program starts on another one."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from rabibridge_testing._servers.home import ATTEMPTS, ErlangHome
from rabibridge_testing._servers.ports import free_ports, is_free
from rabibridge_testing._servers.private import find_server, installed_server
from tools.broker import BrokerError, PrivateCluster, PrivateNode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.broker import Broker

pytestmark = pytest.mark.timeout(300)  # a node starts up to three times in one test


@pytest.fixture
def server() -> Path:
    if find_server() is None and not os.environ.get("CI"):
        pytest.skip("rabbitmq-server is not installed")
    return installed_server()


@pytest.fixture
def occupied() -> Iterator[Occupied]:
    with ExitStack() as sockets:
        yield Occupied(sockets)


class Occupied:
    """Ports on which this test listens."""

    def __init__(self, sockets: ExitStack) -> None:
        self._sockets = sockets

    def take(self, port: int) -> int:
        self._sockets.enter_context(socket.create_server(("127.0.0.1", port)))
        return port

    def always(self, count: int) -> list[int]:
        """Return ports that are not free, as the last argument of `PrivateNode`."""
        return [self.take(free_ports(1)[0]) for _ in range(count)]


@pytest.mark.rabbitmq
def test_ports_taken_before_a_cluster_starts(server: Path, occupied: Occupied) -> None:
    cluster = PrivateCluster(2, server)
    taken = {occupied.take(port) for node in cluster.nodes for port in (node.port, node.dist_port)}
    taken.add(occupied.take(cluster.home.epmd_port))
    with cluster:
        assert all(node.answers() for node in cluster.nodes)
        assert taken.isdisjoint(port for node in cluster.nodes for port in (node.port, node.dist_port))
        names = cluster.ctl("eval", "rabbit_nodes:all_running().")
        assert all(node.name in names for node in cluster.nodes)


@pytest.mark.rabbitmq
@pytest.mark.parametrize("which", ["port", "dist_port"])
def test_a_port_taken_while_a_node_starts(
    server: Path, occupied: Occupied, which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    node = PrivateNode(server)
    try:
        node.launch()
        taken = occupied.take(getattr(node, which))
        node.await_start(120)
        assert node.answers()
        assert taken not in {node.port, node.dist_port}
        if which == "port":
            _lose_ports_of_a_killed_node(node, occupied, monkeypatch)
    finally:
        node.stop()
    assert list(tmp_path.iterdir()) == [], "no crash dump in the working directory"


def _lose_ports_of_a_killed_node(node: PrivateNode, occupied: Occupied, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its distribution port may change when it starts again; clients know the other one."""
    monkeypatch.setattr("rabibridge_testing._servers.private._PORT_PATIENCE", 0.0)
    port = node.port
    node.kill()
    taken = occupied.take(node.dist_port)
    node.start()
    assert node.port == port
    assert node.dist_port != taken
    node.kill()
    occupied.take(port)
    with pytest.raises(BrokerError, match=f"cannot start again: another program has taken its port {port}"):
        node.start()


def test_a_port_taken_by_another_broker(server: Path, rabbitmq: Broker) -> None:
    node = PrivateNode(server, choose_ports=lambda count: [rabbitmq.port, *free_ports(count)][:count])
    assert rabbitmq.answers()
    assert not node.answers(), "it is the other one that answers"


@pytest.mark.rabbitmq
def test_every_port_is_taken(server: Path, occupied: Occupied) -> None:
    node = PrivateNode(server, choose_ports=occupied.always)
    with pytest.raises(BrokerError, match="epmd did not start on any of the ports"):
        node.start()
    home = ErlangHome(server)
    try:
        node = PrivateNode(home=home, choose_ports=occupied.always)
        with pytest.raises(BrokerError, match=r"could not start: other programs took each of its ports") as caught:
            node.start()
        assert str(caught.value).count(",") == ATTEMPTS - 1
    finally:
        home.close()


def test_ports_are_given_away_once() -> None:
    ports = free_ports(200)
    assert len(set(ports)) == 200
    assert all(map(is_free, ports))
