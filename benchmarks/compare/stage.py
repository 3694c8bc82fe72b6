"""Provides what connects clients and servers: one RabbitMQ for all, Redis, nats-server, or nothing."""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Self

from benchmarks.environments import nats_server
from benchmarks.processes import BrokerCpu
from benchmarks.usage import cpu_seconds_of
from rabibridge_testing._servers.ports import free_ports
from tools.redis_server import PrivateRedis

if TYPE_CHECKING:
    from types import TracebackType

    from benchmarks.roster import Entry
    from tools.broker import Broker

_START_TIMEOUT = 20.0


class NatsServer:
    """A private nats-server, stopped when the context ends."""

    def __init__(self) -> None:
        self._port = free_ports(1)[0]
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"nats://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        command = [nats_server(), "--addr", "127.0.0.1", "--port", str(self._port)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_TIMEOUT
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), timeout=1):
                return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__(None, None, None)
                raise RuntimeError("nats-server did not start")
            time.sleep(0.05)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait()

    def cpu(self) -> float | None:
        """Return the CPU seconds used so far."""
        assert self._process is not None
        return cpu_seconds_of(self._process.pid)


class _Redis(PrivateRedis):
    """A private Redis as it is configured by default: without an append-only file, as calls over RabbitMQ are."""

    def __init__(self) -> None:
        super().__init__("--appendonly", "no")

    def cpu(self) -> float | None:
        """Return the CPU seconds used so far."""
        return None if self._process is None else cpu_seconds_of(self._process.pid)


class Stage:
    """Connects the contenders' clients and servers; use it as a context manager."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._broker_cpu = BrokerCpu(broker)
        self._nats: NatsServer | None = None
        self._redis: _Redis | None = None
        self._databases = itertools.count()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def url(self, entry: Entry) -> str:
        """Return the URL for server and client of a contender; no other contender uses it."""
        if entry.through == "nothing":
            return f"tcp://127.0.0.1:{free_ports(1)[0]}"
        if entry.through == "RabbitMQ":
            return self._broker.fresh_vhost()
        if entry.through == "Redis":
            if self._redis is None:
                self._redis = self._stack.enter_context(_Redis())
            return f"redis://127.0.0.1:{self._redis.port}/{next(self._databases)}"
        if self._nats is None:
            self._nats = self._stack.enter_context(NatsServer())
        return self._nats.url

    def cpu(self, entry: Entry) -> float | None:
        """Return the CPU seconds that the broker has used so far; None if there is no broker or they are unknown."""
        if entry.through == "NATS" and self._nats is not None:
            return self._nats.cpu()
        if entry.through == "Redis" and self._redis is not None:
            return self._redis.cpu()
        return self._broker_cpu.read() if entry.through == "RabbitMQ" else None
