"""Brokers in Docker containers, by testcontainers, which removes them even if this process is killed."""

from __future__ import annotations

import gc
import importlib.util
import warnings
from contextlib import closing
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self

from rabibridge_testing._servers.base import Broker, BrokerError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["ContainerNode", "ContainerRedis", "containers_work"]

_RABBITMQ, _AMQP_PORT = "rabbitmq:4", 5672
_REDIS, _REDIS_PORT = "valkey/valkey:8", 6379
_LIBRARY = "testcontainers"


def containers_work() -> bool:
    """Return whether testcontainers is installed and a Docker daemon answers."""
    if importlib.util.find_spec(_LIBRARY) is None:
        return False
    docker = import_module("docker")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves its socket open if nobody answers
        try:
            with closing(docker.from_env(timeout=20)) as client:
                client.ping()
        except (docker.errors.DockerException, OSError):
            works = False
        else:
            works = True
        gc.collect()
    return works


def _container(image: str, port: int) -> Any:
    return import_module(f"{_LIBRARY}.core.container").DockerContainer(image).with_exposed_ports(port)


class ContainerNode(Broker):
    """A RabbitMQ in a container. It gets another port, and new data, each time that it is started."""

    def __init__(self, image: str = _RABBITMQ) -> None:
        """Choose an image; nothing is started."""
        super().__init__("127.0.0.1", 0)
        self._image = image
        self._container: Any = None

    def start(self, timeout: float = 300.0) -> None:
        """Start it, fetching its image if need be, and return when it takes connections."""
        self._vhosts.clear()
        container = self._container = _container(self._image, _AMQP_PORT)
        try:
            container.start()
            self.host = container.get_container_host_ip()
            self.port = int(container.get_exposed_port(_AMQP_PORT))
            self._await_answer(timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Remove the container."""
        container, self._container = self._container, None
        if container is not None:
            container.stop()

    def kill(self) -> None:
        """Remove the container at once."""
        self.stop()

    def running(self) -> bool:
        """Return whether the container was started, and not stopped."""
        return self._container is not None

    def ctl(self, *args: str, timeout: float = 60.0) -> str:
        """Run ``rabbitmqctl`` in the container and return what it printed."""
        if self._container is None:
            raise BrokerError(f"{self!r} does not run")
        done = self._container.exec(["rabbitmqctl", "--quiet", "--timeout", f"{timeout:.0f}", *args])
        output = done.output.decode(errors="replace")
        if done.exit_code:
            raise BrokerError(f"rabbitmqctl {' '.join(args)} failed on {self!r}:\n{output}")
        return str(output)


class ContainerRedis:
    """A Valkey in a container; used as a context manager, it runs inside."""

    def __init__(self, image: str = _REDIS) -> None:
        """Choose an image; nothing is started."""
        self._image = image
        self._container: Any = None

    @property
    def url(self) -> str:
        """The URL of its first database."""
        container = self._container
        return f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(_REDIS_PORT)}/0"

    def __enter__(self) -> Self:
        """Start it, fetching its image if need be."""
        wait = import_module(f"{_LIBRARY}.core.wait_strategies").LogMessageWaitStrategy("Ready to accept connections")
        self._container = _container(self._image, _REDIS_PORT).waiting_for(wait)
        self._container.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove it."""
        self._container.stop()
