"""A RabbitMQ in a container, from the docker-compose.yml of this repository."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path

from rabibridge_testing._servers.base import Broker, BrokerError
from rabibridge_testing._servers.ports import free_ports

_FILE = Path(__file__).parents[2] / "docker-compose.yml"
_PROBE_TIMEOUT = 20.0


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
        command = ["docker", "compose", "--file", str(_FILE), "--project-name", self._project, *args]
        ports = {"RABIBRIDGE_AMQP_PORT": str(self.port), "RABIBRIDGE_MANAGEMENT_PORT": str(self._management_port)}
        try:
            done = subprocess.run(command, env=os.environ | ports, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired as error:
            raise BrokerError(f"docker compose {args[0]} took more than {timeout:g} s") from error
        if done.returncode:
            raise BrokerError(f"docker compose {' '.join(args)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout
