"""A RabbitMQ node of our own, from an installed ``rabbitmq-server``.

It has its own node name, ports, cookie, data folder and port mapper (epmd), all on the loopback interface, and so
disturbs no other node on the machine.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rabibridge_testing._servers.base import Broker, BrokerError
from rabibridge_testing._servers.ctl import QuickCtl
from rabibridge_testing._servers.home import ATTEMPTS, ErlangHome
from rabibridge_testing._servers.lean import QUIET, lean_installation
from rabibridge_testing._servers.ports import free_ports, is_free
from rabibridge_testing._servers.reaper import kill_group

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
# What the output of a node holds that ended because another program listens on its AMQP or distribution port.
_PORT_TAKEN = re.compile(rb"eaddrinuse|dist_port_already_used")
_PORT_PATIENCE = 10.0
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
    """A node that belongs to its creator: it may be killed and restarted at will.

    It ends, and its data with it, at `stop` or when this process is gone, even by SIGKILL. Ctrl-C does not reach it.

    Its port is fixed once it has taken connections. If another program takes a port before that, the node starts again
    on another one.

    Attributes:
        home: where it runs.
        dist_port: the port on which its Erlang machine talks to others.
    """

    def __init__(
        self,
        server: Path | None = None,
        *,
        schedulers: int | None = 2,
        home: ErlangHome | None = None,
        peers: Sequence[str] = (),
        plugins: Sequence[str] = (),
        configuration: str = "",
        choose_ports: Callable[[int], list[int]] = free_ports,
    ) -> None:
        """Choose ports; nothing is started.

        Args:
            server: the ``rabbitmq-server`` script; None: the installed one.
            schedulers: threads of the Erlang machine; None: one per core, as in production.
            home: the home that it shares with other nodes, whose it stays; None: one of its own.
            peers: names of nodes to form a cluster with when it starts for the first time.
            plugins: plug-ins of RabbitMQ's own that are enabled.
            configuration: further lines for its rabbitmq.conf.
            choose_ports: returns as many free ports as it is asked for.

        Raises:
            BrokerError: no RabbitMQ is installed.
        """
        self.home = home or ErlangHome(server or installed_server(), choose_ports=choose_ports)
        self._shares_home = home is not None
        self._choose_ports = choose_ports
        amqp_port, self.dist_port = choose_ports(2)
        super().__init__("127.0.0.1", amqp_port)
        self._port_is_known = False
        self.name = f"rabibridge-{secrets.token_hex(4)}@localhost"
        self._peers = peers
        self._plugins = plugins
        self._configuration = configuration
        self._schedulers = schedulers
        self._node: subprocess.Popen[bytes] | None = None
        self._installation: dict[str, str] = {}
        self._quick_ctl = QuickCtl(self.home.server.with_name("rabbitmqctl"))

    def start(self, timeout: float = 120.0) -> None:
        """Start it, on the data of its last run if there was one; returns when it takes connections."""
        if self.running():
            raise BrokerError(f"{self!r} runs already")
        try:
            self.launch()
            self.await_start(timeout)
        except BaseException:
            self.stop()
            raise

    def launch(self) -> None:
        """Start it and return at once; `await_start` waits for it.

        Raises:
            BrokerError: another program has taken the port on which it ran before.
        """
        folder = self._prepare()
        self._vhosts.clear()
        self.home.start_epmd()
        self._avoid_taken_ports()
        with (folder / "output.log").open("wb") as output:
            self._node = self.home.spawn([str(self.home.server)], self._environment(), output=output.fileno())

    def await_start(self, timeout: float) -> None:
        """Return when it takes connections.

        Raises:
            BrokerError: it ended, or does not take connections within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        for _ in range(ATTEMPTS):
            try:
                self._await_answer(deadline - time.monotonic())
            except BrokerError:
                if not self._lost_its_port():
                    raise
            else:
                self._port_is_known = True
                return
            self.launch()
        raise BrokerError(f"{self!r} could not start: {ATTEMPTS} times another program took one of its ports")

    def _lost_its_port(self) -> bool:
        """Return whether it ended because another program had taken one of its ports."""
        return not self.running() and _PORT_TAKEN.search((self._folder / "output.log").read_bytes()) is not None

    def _avoid_taken_ports(self) -> None:
        """Choose other ports than those that another program has taken since they were chosen."""
        self.dist_port = self._still_free(self.dist_port)
        if not self._port_is_known:
            self.port = self._still_free(self.port)
            return
        deadline = time.monotonic() + _PORT_PATIENCE
        while not is_free(self.port):
            if time.monotonic() > deadline:
                raise BrokerError(f"{self!r} cannot start again: another program has taken its port {self.port}")
            time.sleep(0.1)

    def _still_free(self, port: int) -> int:
        """Return the port if it is still free, or else another one that is."""
        tried: list[int] = []
        while len(tried) < ATTEMPTS:
            if is_free(port):
                return port
            tried.append(port)
            (port,) = self._choose_ports(1)
        raise BrokerError(f"{self!r} could not start: other programs took each of its ports {tried}")

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
        self._quick_ctl.close()
        if not self._shares_home:
            self.home.close()

    def ctl(self, *args: str, timeout: float = 180.0) -> str:
        """Run ``rabbitmqctl`` and return what it printed: 0.01 s, or 0.7 s where it has to be started anew."""
        options = ["--quiet", "--node", self.name, *args]
        folder, environment = self.home.folder, self._environment()
        quick = self._quick_ctl.run(options, folder=self._folder, environment=environment, timeout=timeout)
        if quick is not None:
            return quick
        command = [str(self.home.server.with_name("rabbitmqctl")), *options]
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if done.returncode:
            raise BrokerError(f"rabbitmqctl {' '.join(args)} failed on {self!r}:\n{done.stdout}{done.stderr}")
        return done.stdout

    @property
    def _folder(self) -> Path:
        return self.home.folder / self.name.partition("@")[0]

    def _prepare(self) -> Path:
        folder = self._folder
        if not folder.exists():
            folder.mkdir()
            (folder / "enabled_plugins").write_text(f"[{','.join(self._plugins)}].\n")
            (folder / "rabbitmq.conf").write_text(
                _CONFIGURATION + os.environ.get(CONFIGURATION_VARIABLE, "") + self._configuration + self._discovery()
            )
            (folder / "advanced.config").write_text(
                f'[{{rabbit, [{{server_properties, [{{rabibridge_node, "{self.name}"}}]}}]}}].\n'
            )
            self._installation = lean_installation(self.home.server, folder / "installation", self._plugins)
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
        erlang = f"-kernel inet_dist_use_interface {{127,0,0,1}} {QUIET}"
        if self._schedulers is not None:
            erlang += f" +S {self._schedulers}:{self._schedulers}"
        environment = self.home.environment() | self._installation
        return environment | {
            "ERL_CRASH_DUMP": f"{folder}/erl_crash.dump",
            "RUNNING_UNDER_SYSTEMD": "true",  # the script becomes the node, instead of a shell that waits for it
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_NODE_IP_ADDRESS": self.host,
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/config",
            "RABBITMQ_SCHEMA_DIR": f"{folder}/schema",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none.conf",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": erlang,
        }

    def _is_start_of_this_broker(self, start: bytes) -> bool:
        return self.name.encode() in start

    def _why(self) -> str:
        if not self.home.exists:
            return ""
        lines: list[str] = []
        for log in (self._folder / "output.log", self._folder / "log" / "node.log"):
            if log.exists():
                lines += log.read_text(errors="replace").splitlines()[-_LOG_TAIL:]
        return " The end of its log:\n" + "\n".join(lines)
