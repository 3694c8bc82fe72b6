"""A RabbitMQ or a Valkey in a container, from the docker-compose.yml of this repository."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rabibridge_testing._servers.base import Broker, BrokerError
from rabibridge_testing._servers.ports import free_ports

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

__all__ = ["ComposeNode", "ComposeRedis", "compose_works"]

_FILE = Path(__file__).parents[2] / "docker-compose.yml"
_PROBE_TIMEOUT = 20.0
_START_TIMEOUT = 300.0


def compose_works() -> bool:
    """Return whether Docker Compose is installed and a Docker daemon answers."""
    if shutil.which("docker") is None:
        return False
    try:
        for command in (["docker", "compose", "version"], ["docker", "info"]):
            subprocess.run(command, check=True, capture_output=True, timeout=_PROBE_TIMEOUT)
    except (subprocess.SubprocessError, OSError):
        return False
    return True


class ComposeNode(Broker):
    """A container of a Compose project of its own, on random ports of the loopback interface.

    It ends, and its data with it, at `stop`. A process that is killed leaves it behind: ``docker compose ls`` shows it.
    """

    def __init__(self) -> None:
        """Choose ports; nothing is started."""
        amqp_port, self._management_port = free_ports(2)
        super().__init__("127.0.0.1", amqp_port)
        self._project = f"rabibridge-{secrets.token_hex(4)}"

    def start(self, timeout: float = 300.0) -> None:
        """Start the container, fetching its image if need be, and return when it takes connections."""
        self._vhosts.clear()
        try:
            self._compose("up", "--detach", "--wait", "--quiet-pull", timeout=timeout)
            self._await_answer(timeout)
        except BaseException:
            self.stop()
            raise

    def running(self) -> bool:
        """Return whether the container runs."""
        return bool(self._compose("ps", "--status", "running", "--quiet").strip())

    def kill(self) -> None:
        """End the container with SIGKILL; its data stays for the next `start`."""
        self._compose("kill")

    def stop(self) -> None:
        """Remove the container and its data."""
        self._compose("down", "--volumes", "--timeout", "1")

    def ctl(self, *args: str, timeout: float = 60.0) -> str:
        """Run ``rabbitmqctl`` in the container and return what it printed."""
        return self._compose("exec", "--no-TTY", "rabbitmq", "rabbitmqctl", "--quiet", *args, timeout=timeout)

    def _compose(self, *args: str, timeout: float = 60.0) -> str:
        ports = {"RABIBRIDGE_AMQP_PORT": str(self.port), "RABIBRIDGE_MANAGEMENT_PORT": str(self._management_port)}
        return _compose(self._project, ports, *args, timeout=timeout)


class ComposeRedis:
    """A Valkey in a container of a Compose project of its own, on a random port of the loopback interface.

    Used as a context manager, it runs inside.
    """

    def __init__(self) -> None:
        """Choose a port; nothing is started."""
        self._port = free_ports(1)[0]
        self._project = f"rabibridge-{secrets.token_hex(4)}"

    @property
    def url(self) -> str:
        """The URL of its first database."""
        return f"redis://127.0.0.1:{self._port}/0"

    def __enter__(self) -> Self:
        """Start it, fetching its image if need be.

        Raises:
            BrokerError: Docker refuses.
        """
        try:
            self._compose("up", "--detach", "--wait", "--quiet-pull", "valkey", timeout=_START_TIMEOUT)
        except BaseException as error:
            try:
                self._remove()
            except BrokerError as left:
                error.add_note(f"and nothing could be removed: {left}")
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove it and its data."""
        self._remove()

    def _remove(self) -> None:
        self._compose("down", "--volumes", "--timeout", "1")

    def _compose(self, *args: str, timeout: float = 60.0) -> str:
        ports = {"RABIBRIDGE_REDIS_PORT": str(self._port)}
        return _compose(self._project, ports, "--profile", "redis", *args, timeout=timeout)


def _compose(project: str, variables: Mapping[str, str], *args: str, timeout: float) -> str:
    command = ["docker", "compose", "--file", str(_FILE), "--project-name", project, *args]
    try:
        done = subprocess.run(command, env=os.environ | variables, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired as error:
        raise BrokerError(f"docker compose {' '.join(args)} took more than {timeout:g} s") from error
    except OSError as error:
        raise BrokerError(f"docker cannot be run: {error}") from error
    if done.returncode:
        raise BrokerError(f"docker compose {' '.join(args)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
