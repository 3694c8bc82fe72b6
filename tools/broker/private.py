"""A RabbitMQ node of our own, from an installed ``rabbitmq-server``.

It has its own node name, ports, cookie, data folder and port mapper (epmd), all on the loopback interface, and so
disturbs no other node on the machine.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

from tools.broker.base import Broker, BrokerError
from tools.broker.reaper import Reaper, kill_group

# Debian's /usr/sbin/rabbitmq-server changes to the user rabbitmq, who has no business in our folder; the script behind
# it does not.
_LAYOUTS = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server",
    "/usr/local/opt/rabbitmq/sbin/rabbitmq-server",
)
_LOG_TAIL = 30


def find_server() -> Path | None:
    """Return the ``rabbitmq-server`` script to start, or None where none is installed."""
    for candidate in _LAYOUTS:
        if os.access(candidate, os.X_OK):
            return Path(candidate)
    found = shutil.which("rabbitmq-server")
    return Path(found) if found else None


def _find_epmd() -> str:
    found = shutil.which("epmd")
    if found is None and (erl := shutil.which("erl")) is not None:
        found = next((str(path) for path in sorted(Path(erl).resolve().parents[1].glob("erts-*/bin/epmd"))), None)
    if found is None:
        raise BrokerError("epmd was not found on PATH nor beside erl: the Erlang installation is incomplete")
    return found


def free_ports(count: int) -> list[int]:
    # Below the range that the system hands out to outgoing connections: a client that keeps trying to reconnect to a
    # port of that range may be given the very same port, and then is connected to itself.
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


class PrivateNode(Broker):
    """A node that belongs to whoever made it: it may be killed and restarted at will.

    It ends, and its data with it, at `stop` or when this process is gone, even by SIGKILL. Ctrl-C does not reach it.
    """

    def __init__(self, server: Path | None = None, *, schedulers: int | None = 2) -> None:
        """Choose ports; nothing is started.

        Args:
            server: the ``rabbitmq-server`` script; None: the installed one.
            schedulers: threads of the Erlang machine; None: one per core, as in production.

        Raises:
            BrokerError: no RabbitMQ is installed.
        """
        found = server or find_server()
        if found is None:
            raise BrokerError("rabbitmq-server is not installed")
        self._server = found
        amqp_port, self._dist_port, self._epmd_port = free_ports(3)
        super().__init__("127.0.0.1", amqp_port)
        self._name = f"rabibridge-{secrets.token_hex(4)}@localhost"
        self._schedulers = schedulers
        self._folder: Path | None = None
        self._reaper: Reaper | None = None
        self._node: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None

    def start(self, timeout: float = 120.0) -> None:
        """Start it, on the data of its last run if there was one; returns when it takes connections."""
        if self.running():
            raise BrokerError(f"{self!r} runs already")
        folder = self._prepare()
        self._vhosts.clear()
        if self._epmd is None:
            self._epmd = self._spawn([_find_epmd(), "-port", str(self._epmd_port), "-address", "127.0.0.1"])
        with (folder / "output.log").open("ab") as output:
            self._node = self._spawn([str(self._server)], output=output.fileno())
        try:
            self._await_answer(timeout)
        except BaseException:
            self.stop()
            raise

    def running(self) -> bool:
        """Return whether the node's process runs."""
        return self._node is not None and self._node.poll() is None

    def kill(self) -> None:
        """End the node with SIGKILL; its data stays for the next `start`."""
        if self._node is not None:
            kill_group(self._node.pid)
            self._node.wait()
            self._node = None

    def stop(self) -> None:
        """End the node and its epmd and remove the data. Nothing is worth a slow shutdown: the data goes anyway."""
        self.kill()
        if self._epmd is not None:
            kill_group(self._epmd.pid)
            self._epmd.wait()
            self._epmd = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        if self._reaper is not None:
            self._reaper.close()
            self._reaper = None

    def ctl(self, *args: str, timeout: float = 60.0) -> str:
        """Run ``rabbitmqctl``, about one second, and return what it printed."""
        command = [str(self._server.with_name("rabbitmqctl")), "--quiet", "--node", self._name, *args]
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True, timeout=timeout)
        if done.returncode:
            raise BrokerError(f"rabbitmqctl {' '.join(args)} failed on {self!r}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _prepare(self) -> Path:
        if self._folder is not None:
            return self._folder
        self._reaper = Reaper()
        self._folder = folder = Path(tempfile.mkdtemp(prefix="rabibridge-rabbitmq-"))
        self._reaper.watch_folder(str(folder))
        cookie = folder / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(20))
        cookie.chmod(0o400)
        (folder / "enabled_plugins").write_text("[].\n")
        (folder / "rabbitmq.conf").write_text(
            "log.console = false\nlog.file = node.log\nlog.file.level = info\ndisk_free_limit.absolute = 50MB\n"
        )
        return folder

    def _spawn(self, command: list[str], *, output: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a process group of its own: all of it can be killed, and Ctrl-C spares it
        )
        assert self._reaper is not None
        self._reaper.watch_group(process.pid)
        return process

    def _environment(self) -> dict[str, str]:
        assert self._folder is not None
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        folder = str(self._folder)
        erlang = "-kernel inet_dist_use_interface {127,0,0,1}"
        if self._schedulers is not None:
            erlang += f" +S {self._schedulers}:{self._schedulers}"
        return inherited | {
            "HOME": folder,  # where Erlang keeps its cookie
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the node, instead of a shell that waits for it
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/config",
            "RABBITMQ_SCHEMA_DIR": f"{folder}/schema",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/none.config",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none.conf",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": erlang,
        }

    def _why(self) -> str:
        if self._folder is None:
            return ""
        lines: list[str] = []
        for log in (self._folder / "output.log", self._folder / "log" / "node.log"):
            if log.exists():
                lines += log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]
        return " The end of its log:\n" + "\n".join(lines)
