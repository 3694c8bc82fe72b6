"""A RabbitMQ cluster whose nodes live on hosts of their own, made of network namespaces, and can be cut off from it.

Each host has two links: one to the other hosts, by a bridge, for what the nodes tell each other, and one to this
process, for clients. So a node that is cut off from the others still takes connections, as where a switch fails.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self

from rabibridge_testing._servers.base import BrokerError
from rabibridge_testing._servers.home import ErlangHome, find_epmd
from rabibridge_testing._servers.private import PrivateNode, installed_server

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = ["PartitionedCluster", "may_have_namespaces"]

_TICK = 4
"""Seconds after which nodes take each other for gone that do not hear from each other; 60 unless set otherwise."""
_PORT, _EPMD_PORT, _DIST_PORT = 5672, 4369, 25672
_START_TIMEOUT, _EPMD_TIMEOUT = 180.0, 30.0


def may_have_namespaces() -> bool:
    """Return whether this process may make network namespaces."""
    return shutil.which("ip") is not None and os.geteuid() == 0


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


class _Home(ErlangHome):
    """What a node needs on its host, in whose namespace all of its programs run."""

    def __init__(self, space: str, client_address: str, cookie: str) -> None:
        super().__init__(installed_server())
        self.epmd_port = _EPMD_PORT
        self._space, self._client_address, self._cookie = space, client_address, cookie

    def environment(self) -> dict[str, str]:
        cookie = self.folder / ".erlang.cookie"
        if cookie.read_text() != self._cookie:
            cookie.chmod(0o600)
            cookie.write_text(self._cookie)
            cookie.chmod(0o400)
        environment = super().environment()
        del environment["ERL_EPMD_ADDRESS"]
        return environment

    def start_epmd(self) -> None:
        """Start the port mapper on all addresses of the host, where nobody else has its port.

        Raises:
            BrokerError: it does not answer.
        """
        if self._epmd is not None:
            return
        self._epmd = self.spawn([find_epmd(self.server)], self.environment(), output=subprocess.DEVNULL)
        give_up = time.monotonic() + _EPMD_TIMEOUT
        while time.monotonic() < give_up:
            with suppress(OSError), socket.create_connection((self._client_address, _EPMD_PORT), timeout=5):
                return
            time.sleep(0.02)
        raise BrokerError(f"epmd did not answer at {self._client_address} within {_EPMD_TIMEOUT:g} s")

    def spawn(self, command: list[str], environment: Mapping[str, str], *, output: int) -> subprocess.Popen[bytes]:
        return super().spawn(["ip", "netns", "exec", self._space, *command], environment, output=output)


class _Node(PrivateNode):
    """A node that other hosts can reach."""

    def __init__(self, home: _Home, space: str, client_address: str, address: str, peers: list[str], how: str) -> None:
        configuration = f"cluster_partition_handling = {how}\n"
        super().__init__(
            home=home, peers=peers, configuration=configuration, choose_ports=lambda count: [_PORT] * count
        )
        self.host, self.port, self.dist_port = client_address, _PORT, _DIST_PORT
        self.name = f"rabbit@{address}"
        self._space, self._address = space, address

    def ctl(self, *args: str, timeout: float = 180.0) -> str:
        """Run ``rabbitmqctl`` on its host."""
        program = str(self.home.server.with_name("rabbitmqctl"))
        command = ["ip", "netns", "exec", self._space, program, "--quiet", "--longnames", "--node", self.name, *args]
        done = subprocess.run(
            command, cwd=self.home.folder, env=self._environment(), stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=timeout, check=False,
        )  # fmt: skip
        if done.returncode:
            raise BrokerError(f"rabbitmqctl {' '.join(args)} failed on {self!r}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _avoid_taken_ports(self) -> None:
        """Take the ports that were chosen: nobody else is in the namespace."""

    def _environment(self) -> dict[str, str]:
        environment = super()._environment()
        arguments = environment["RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS"]
        inner = ",".join(self._address.split("."))
        arguments = arguments.replace("{127,0,0,1}", f"{{{inner}}}") + f" -kernel net_ticktime {_TICK}"
        return environment | {
            "RABBITMQ_USE_LONGNAME": "true",
            "RABBITMQ_NODE_IP_ADDRESS": "0.0.0.0",  # noqa: S104 - in a namespace that only this machine can reach
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": arguments,
        }


class PartitionedCluster:
    """A cluster of three nodes; used as a context manager, it runs inside.

    Attributes:
        how: what RabbitMQ does about a partition.
        nodes: its nodes.
    """

    def __init__(self, how: str, *, size: int = 3) -> None:
        """Choose names and addresses; nothing is started.

        Args:
            how: what RabbitMQ does about a partition, its ``cluster_partition_handling``.
            size: how many nodes.

        Raises:
            BrokerError: no RabbitMQ is installed.
        """
        self.how = how
        token = secrets.token_hex(3)
        net = secrets.randbelow(200)
        self._bridge = f"rb{token}"
        self._spaces = [f"rb-{token}-{number}" for number in range(size)]
        self._ports = [f"rb{token}p{number}" for number in range(size)]
        self._clients = [f"rb{token}c{number}" for number in range(size)]
        self._inner = [f"10.179.{net}.{number + 1}" for number in range(size)]
        self._outer = [f"10.180.{net}.{4 * number + 2}" for number in range(size)]
        self._ours = [f"10.180.{net}.{4 * number + 1}" for number in range(size)]
        cookie = secrets.token_hex(20)
        self.nodes: list[PrivateNode] = []
        for number, address in enumerate(self._inner):
            home = _Home(self._spaces[number], self._outer[number], cookie)
            peers = [self.nodes[0].name] if number else []
            self.nodes.append(_Node(home, self._spaces[number], self._outer[number], address, peers, how))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            _ip("link", "add", self._bridge, "type", "bridge")
            stack.callback(_ip, "link", "del", self._bridge)
            _ip("link", "set", self._bridge, "up")
            for number in range(len(self.nodes)):
                self._make_host(number, stack)
            for node in self.nodes:
                stack.callback(node.home.close)
                stack.callback(node.stop)
            # Two nodes that start at once for the first time may each found a cluster.
            self.nodes[0].start(_START_TIMEOUT)
            for node in self.nodes[1:]:
                node.launch()
            for node in self.nodes[1:]:
                node.await_start(_START_TIMEOUT)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def _make_host(self, number: int, stack: ExitStack) -> None:
        space, port, client = self._spaces[number], self._ports[number], self._clients[number]
        _ip("netns", "add", space)
        stack.callback(_ip, "netns", "del", space)
        _ip("link", "add", port, "type", "veth", "peer", "name", "inner", "netns", space)
        _ip("link", "set", port, "master", self._bridge, "up")
        _ip("link", "add", client, "type", "veth", "peer", "name", "outer", "netns", space)
        _ip("addr", "add", f"{self._ours[number]}/30", "dev", client)
        _ip("link", "set", client, "up")
        _ip("-n", space, "addr", "add", f"{self._inner[number]}/24", "dev", "inner")
        _ip("-n", space, "addr", "add", f"{self._outer[number]}/30", "dev", "outer")
        for device in ("inner", "outer", "lo"):
            _ip("-n", space, "link", "set", device, "up")

    def cut_off(self, number: int) -> None:
        """Let nothing pass between a node and the others: nobody is told, and clients reach all of them."""
        _ip("link", "set", self._ports[number], "nomaster")

    def heal(self, number: int) -> None:
        """Let everything pass again."""
        _ip("link", "set", self._ports[number], "master", self._bridge)

    def ctl(self, *args: str) -> str:
        """Run ``rabbitmqctl`` on the first node."""
        return self.nodes[0].ctl(*args)

    def running_peers(self, number: int) -> set[int]:
        """Return which nodes a node takes for running; none, if it does not run itself."""
        try:
            names = self.nodes[number].ctl("eval", '[io:format("~s ", [N]) || N <- rabbit_nodes:all_running()], ok.')
        except BrokerError:
            return set()
        return {index for index, node in enumerate(self.nodes) if node.name in names.split()}

    def whole(self) -> bool:
        """Return whether every node takes all of them for running."""
        everybody = set(range(len(self.nodes)))
        return all(self.running_peers(number) == everybody for number in everybody)
