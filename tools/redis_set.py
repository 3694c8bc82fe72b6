"""Several servers of Redis that belong together: a primary with a replica and Sentinels, or the nodes of a cluster."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tools.redis_server import PrivateRedis, find_redis_server

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["RedisCluster", "RedisWithSentinels", "ask"]

_TIMEOUT = 60.0
_SLOTS = 16384


def ask(port: int, *command: str) -> str:
    """Send one command to a server without a password, and return the first 64 KiB of the answer as they are."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall((" ".join(command) + "\r\n").encode())
        return connection.recv(65536).decode()


def _wait(what: str, port: int, *command: str) -> None:
    deadline = time.monotonic() + _TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):  # it does not listen yet
            if what in ask(port, *command):
                return
        time.sleep(0.05)  # nothing tells when it does
    raise RuntimeError(f"{' '.join(command)} does not answer {what!r} within {_TIMEOUT:g} s")


class _Sentinel(PrivateRedis):
    """A Sentinel. It rewrites its configuration, which is therefore a file of its own."""

    def __init__(self, configuration: str) -> None:
        super().__init__()
        self._configuration = configuration

    def _run(self, port: int) -> bool:
        program = find_redis_server()
        assert program is not None
        assert self._reaper is not None
        path = Path(self._folder) / "sentinel.conf"
        path.write_text(f"port {port}\nbind 127.0.0.1\ndir {self._folder}\n{self._configuration}")
        with open(f"{self._folder}/output", "wb") as output:
            self._process = subprocess.Popen(
                [program, str(path), "--sentinel"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._reaper.watch_group(self._process.pid)
        _wait("+PONG", port, "PING")
        return True


class _Servers:
    """Servers that are stopped together."""

    def __init__(self) -> None:
        self.servers: list[PrivateRedis] = []

    def _start(self, server: PrivateRedis) -> PrivateRedis:
        self.servers.append(server)
        server.start()
        return server

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End all of them."""
        for server in self.servers:
            server.stop()


class RedisWithSentinels(_Servers):
    """A primary, a replica, and three Sentinels that call the primary ``mymaster`` and give it up after a second."""

    def __init__(self) -> None:
        """Prepare them."""
        super().__init__()
        self.primary: PrivateRedis
        self.replica: PrivateRedis
        self.sentinels: list[PrivateRedis] = []

    @property
    def url(self) -> str:
        """The URL that names all Sentinels."""
        return ",".join(f"redis+sentinel://127.0.0.1:{one.port}/0" for one in self.sentinels)

    def __enter__(self) -> Self:
        """Start them, and wait until the Sentinels know each other and the replica."""
        try:
            self.primary = self._start(PrivateRedis())
            self.replica = self._start(PrivateRedis("--replicaof", "127.0.0.1", str(self.primary.port)))
            _wait("master_link_status:up", self.replica.port, "INFO", "replication")
            watched = (
                f"sentinel monitor mymaster 127.0.0.1 {self.primary.port} 2\n"
                "sentinel down-after-milliseconds mymaster 1000\n"
                "sentinel failover-timeout mymaster 5000\n"
            )
            for _ in range(3):
                self.sentinels.append(self._start(_Sentinel(watched)))
            for sentinel in self.sentinels:
                _wait("slaves=1,sentinels=3", sentinel.port, "INFO", "sentinel")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self


class RedisCluster(_Servers):
    """A cluster of nodes without replicas; each has an equal part of the slots."""

    def __init__(self, size: int = 2) -> None:
        """Prepare ``size`` nodes."""
        super().__init__()
        self._size = size

    @property
    def urls(self) -> list[str]:
        """The URL of each node."""
        return [server.url for server in self.servers]

    def __enter__(self) -> Self:
        """Start them, and wait until each knows where all slots are."""
        try:
            options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "5000")
            nodes = [self._start(PrivateRedis(*options)) for _ in range(self._size)]
            share = -(-_SLOTS // self._size)
            for number, node in enumerate(nodes):
                last = min((number + 1) * share, _SLOTS) - 1
                ask(node.port, "CLUSTER", "ADDSLOTSRANGE", str(number * share), str(last))
                ask(node.port, "CLUSTER", "MEET", "127.0.0.1", str(nodes[0].port))
            for node in nodes:
                _wait("cluster_state:ok", node.port, "CLUSTER", "INFO")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self
