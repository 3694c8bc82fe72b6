"""What the nodes of one cluster share, or a node that is alone has to itself."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tools.broker.base import BrokerError
from tools.broker.ports import free_ports
from tools.broker.reaper import Reaper, kill_group

if TYPE_CHECKING:
    from collections.abc import Mapping


def _find_epmd(server: Path) -> str:
    found: str | None = str(beside) if os.access(beside := server.with_name("epmd"), os.X_OK) else shutil.which("epmd")
    if found is None and (erl := shutil.which("erl")) is not None:
        found = next((str(path) for path in sorted(Path(erl).resolve().parents[1].glob("erts-*/bin/epmd"))), None)
    if found is None:
        raise BrokerError("epmd was not found on PATH nor beside erl: the Erlang installation is incomplete")
    return found


class ErlangHome:
    """A folder with a cookie, a port mapper (epmd) on the loopback interface, and the processes that were started here.

    All of it is gone after `close`, or when this process is gone, even by SIGKILL.
    """

    def __init__(self, server: Path) -> None:
        """Choose a port; nothing is made yet.

        Args:
            server: the ``rabbitmq-server`` script that the nodes are started with.
        """
        self.server = server
        self._epmd_port = free_ports(1)[0]
        self._folder: Path | None = None
        self._reaper: Reaper | None = None
        self._epmd: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        """The folder, made when it is first asked for."""
        if self._folder is None:
            self._reaper = Reaper()
            self._folder = Path(tempfile.mkdtemp(prefix="rabibridge-rabbitmq-"))
            self._reaper.watch_folder(str(self._folder))
            cookie = self._folder / ".erlang.cookie"
            cookie.write_text(secrets.token_hex(20))
            cookie.chmod(0o400)
        return self._folder

    @property
    def exists(self) -> bool:
        """Whether there is a folder."""
        return self._folder is not None

    def environment(self) -> dict[str, str]:
        """Return the environment of every program here; what the caller's own says about RabbitMQ is left out."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return inherited | {
            "HOME": str(self.folder),  # where Erlang keeps its cookie
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
        }

    def start_epmd(self) -> None:
        """Start the port mapper if it does not run."""
        if self._epmd is None:
            command = [_find_epmd(self.server), "-port", str(self._epmd_port), "-address", "127.0.0.1"]
            self._epmd = self.spawn(command, self.environment())

    def spawn(
        self, command: list[str], environment: Mapping[str, str], *, output: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """Start a program in a process group of its own: all of it can be killed, and Ctrl-C spares it."""
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._reaper is not None
        self._reaper.watch_group(process.pid)
        return process

    def close(self) -> None:
        """End epmd and remove the folder; the nodes are to be dead by now."""
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
