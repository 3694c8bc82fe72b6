"""A RabbitMQ node of our own, from an installed ``rabbitmq-server``.

It has its own node name, ports, cookie, data folder and port mapper (epmd), all on the loopback interface, and so
disturbs no other node on the machine.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from tools.broker.base import Broker, BrokerError
from tools.broker.home import ErlangHome
from tools.broker.ports import free_ports
from tools.broker.reaper import kill_group

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVER_VARIABLE = "RABIBRIDGE_TEST_SERVER"
CONFIGURATION_VARIABLE = "RABIBRIDGE_TEST_CONFIGURATION"  # lines for the rabbitmq.conf of every node

# Debian's /usr/sbin/rabbitmq-server changes to the user rabbitmq, who has no business in our folder; the script behind
# it does not.
_LAYOUTS = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server",
    "/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server",
    "/usr/local/opt/rabbitmq/sbin/rabbitmq-server",
)
_LOG_TAIL = 30
_CONFIGURATION = "log.console = false\nlog.file = node.log\nlog.file.level = info\ndisk_free_limit.absolute = 50MB\n"


def find_server() -> Path | None:
    """Return the ``rabbitmq-server`` script to start, or None where none is installed.

    Raises:
        BrokerError: RABIBRIDGE_TEST_SERVER names something that cannot be run.
    """
    if named := os.environ.get(SERVER_VARIABLE):
        if shutil.which(named) is None:
            raise BrokerError(f"{SERVER_VARIABLE} is {named!r}, which is no program; it is to be a rabbitmq-server")
        return Path(named).absolute()
    for candidate in _LAYOUTS:
        if os.access(candidate, os.X_OK):
            return Path(candidate)
    found = shutil.which("rabbitmq-server")
    return Path(found) if found else None


def installed_server() -> Path:
    """Return the ``rabbitmq-server`` script to start; `BrokerError` where none is installed."""
    found = find_server()
    if found is None:
        raise BrokerError("rabbitmq-server is not installed")
    return found


class PrivateNode(Broker):
    """A node that belongs to whoever made it: it may be killed and restarted at will.

    It ends, and its data with it, at `stop` or when this process is gone, even by SIGKILL. Ctrl-C does not reach it.
    """

    def __init__(
        self,
        server: Path | None = None,
        *,
        schedulers: int | None = 2,
        home: ErlangHome | None = None,
        peers: Sequence[str] = (),
        plugins: Sequence[str] = (),
    ) -> None:
        """Choose ports; nothing is started.

        Args:
            server: the ``rabbitmq-server`` script; None: the installed one.
            schedulers: threads of the Erlang machine; None: one per core, as in production.
            home: the home that it shares with other nodes, whose it stays; None: one of its own.
            peers: names of nodes to form a cluster with when it starts for the first time.
            plugins: plug-ins of RabbitMQ's own that are enabled.

        Raises:
            BrokerError: no RabbitMQ is installed.
        """
        self._home = home or ErlangHome(server or installed_server())
        self._shares_home = home is not None
        amqp_port, self._dist_port = free_ports(2)
        super().__init__("127.0.0.1", amqp_port)
        self.name = f"rabibridge-{secrets.token_hex(4)}@localhost"
        self._peers = peers
        self._plugins = plugins
        self._schedulers = schedulers
        self._node: subprocess.Popen[bytes] | None = None

    def start(self, timeout: float = 120.0) -> None:
        """Start it, on the data of its last run if there was one; returns when it takes connections."""
        self.launch()
        try:
            self.await_start(timeout)
        except BaseException:
            self.stop()
            raise

    def launch(self) -> None:
        """Start it and return at once; `await_start` waits for it."""
        if self.running():
            raise BrokerError(f"{self!r} runs already")
        folder = self._prepare()
        self._vhosts.clear()
        self._home.start_epmd()
        with (folder / "output.log").open("ab") as output:
            self._node = self._home.spawn([str(self._home.server)], self._environment(), output=output.fileno())

    def await_start(self, timeout: float) -> None:
        """Return when it takes connections; `BrokerError` if it does not within ``timeout`` seconds."""
        self._await_answer(timeout)

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
        if not self._shares_home:
            self._home.close()

    def ctl(self, *args: str, timeout: float = 60.0) -> str:
        """Run ``rabbitmqctl``, about one second, and return what it printed."""
        command = [str(self._home.server.with_name("rabbitmqctl")), "--quiet", "--node", self.name, *args]
        done = subprocess.run(command, env=self._environment(), capture_output=True, text=True, timeout=timeout)
        if done.returncode:
            raise BrokerError(f"rabbitmqctl {' '.join(args)} failed on {self!r}:\n{done.stdout}{done.stderr}")
        return done.stdout

    @property
    def _folder(self) -> Path:
        return self._home.folder / self.name.partition("@")[0]

    def _prepare(self) -> Path:
        folder = self._folder
        if not folder.exists():
            folder.mkdir()
            (folder / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].\n")
            (folder / "rabbitmq.conf").write_text(
                _CONFIGURATION + os.environ.get(CONFIGURATION_VARIABLE, "") + self._discovery()
            )
        return folder

    def _discovery(self) -> str:
        if not self._peers:
            return ""
        lines = [f"nodes.{number} = {name}" for number, name in enumerate([*self._peers, self.name], 1)]
        prefix = "cluster_formation."
        return f"{prefix}peer_discovery_backend = classic_config\n" + "".join(
            f"{prefix}classic_config.{line}\n" for line in lines
        )

    def _environment(self) -> dict[str, str]:
        folder = str(self._folder)
        erlang = "-kernel inet_dist_use_interface {127,0,0,1}"
        if self._schedulers is not None:
            erlang += f" +S {self._schedulers}:{self._schedulers}"
        return self._home.environment() | {
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the node, instead of a shell that waits for it
            "RABBITMQ_NODENAME": self.name,
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
        if not self._home.exists:
            return ""
        lines: list[str] = []
        for log in (self._folder / "output.log", self._folder / "log" / "node.log"):
            if log.exists():
                lines += log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]
        return " The end of its log:\n" + "\n".join(lines)
