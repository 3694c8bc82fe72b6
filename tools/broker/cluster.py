"""Several RabbitMQ nodes of our own, joined to one cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rabibridge_testing._servers.base import BrokerError
from rabibridge_testing._servers.home import ErlangHome
from rabibridge_testing._servers.private import PrivateNode, installed_server

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class PrivateCluster:
    """A cluster that belongs to its creator: each of its nodes may be killed and restarted at will.

    The nodes share a cookie and a port mapper and listen on ports of their own of the loopback interface. They end, and
    their data with them, at `stop` or when this process is gone, even by SIGKILL. Used as a context manager, it runs
    inside.

    Attributes:
        nodes: its nodes.
        home: what they share.
    """

    def __init__(self, size: int = 3, server: Path | None = None, *, schedulers: int | None = 2) -> None:
        """Choose ports; nothing is started.

        Args:
            size: how many nodes.
            server: the ``rabbitmq-server`` script; None: the installed one.
            schedulers: threads of each Erlang machine; None: one per core, as in production.

        Raises:
            BrokerError: no RabbitMQ is installed.
        """
        self.home = ErlangHome(server or installed_server())
        first = PrivateNode(home=self.home, schedulers=schedulers)
        others = (PrivateNode(home=self.home, schedulers=schedulers, peers=[first.name]) for _ in range(1, size))
        self.nodes = [first, *others]

    @property
    def urls(self) -> list[str]:
        """The AMQP URLs of the default virtual host, one for each node."""
        return [node.url for node in self.nodes]

    def start(self, n: int | None = None, timeout: float = 120.0) -> None:
        """Start node ``n``, or all that do not run; returns when they take connections.

        Args:
            n: the number of a node, counted from 0; None: all.
            timeout: seconds for each to answer.

        Raises:
            BrokerError: one does not answer; the cluster is stopped then, if all were to start.
        """
        if n is not None:
            self.nodes[n].start(timeout)
            return
        try:
            if not self.home.exists:
                # Two nodes that start at once for the first time may each found a cluster: the first has to be there.
                self.nodes[0].start(timeout)
            missing = [node for node in self.nodes if not node.running()]
            for node in missing:
                node.launch()
            for node in missing:
                node.await_start(timeout)
        except BaseException:
            self.stop()
            raise

    def kill(self, n: int) -> None:
        """End node ``n`` with SIGKILL; its data stays for the next `start`."""
        self.nodes[n].kill()

    def stop(self) -> None:
        """End all nodes and remove their data; stopping twice does no harm."""
        for node in self.nodes:
            node.stop()
        self.home.close()

    def ctl(self, *args: str, timeout: float = 60.0) -> str:
        """Run ``rabbitmqctl`` on a node that runs and return what it printed; `BrokerError` if it fails."""
        return self._alive().ctl(*args, timeout=timeout)

    def fresh_vhost(self) -> list[str]:
        """Return the URLs, one for each node, of a virtual host that nobody has used."""
        vhost = self._alive().fresh_vhost().rpartition("/")[2]
        return [node.url_of(vhost) for node in self.nodes]

    def _alive(self) -> PrivateNode:
        for node in self.nodes:
            if node.running():
                return node
        raise BrokerError(f"no node of {self!r} runs")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(f'{node.host}:{node.port}' for node in self.nodes)}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
