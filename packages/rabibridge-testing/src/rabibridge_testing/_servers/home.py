"""What the nodes of one cluster share, or a node that is alone has to itself."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rabibridge_testing._servers.base import BrokerError
from rabibridge_testing._servers.ports import free_ports, is_free
from rabibridge_testing._servers.reaper import Reaper, kill_group

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ATTEMPTS = 5
"""How many ports are tried before a program that finds each of them taken is given up."""
_EPMD_TIMEOUT = 30.0


def find_epmd(server: Path) -> str:
    """Return the port mapper that belongs to a ``rabbitmq-server``; `BrokerError` where there is none."""
    found: str | None = str(beside) if os.access(beside := server.with_name("epmd"), os.X_OK) else shutil.which("epmd")
    if found is None and (erl := shutil.which("erl")) is not None:
        found = next((str(path) for path in sorted(Path(erl).resolve().parents[1].glob("erts-*/bin/epmd"))), None)
    if found is None:
        raise BrokerError("epmd was not found on PATH nor beside erl: the Erlang installation is incomplete")
    return found


def _is_epmd(port: int) -> bool:
    """Return whether a port mapper answers on a port of the loopback interface."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(b"\x00\x01n")  # asks for the names of all nodes; the answer begins with the port
        return connection.recv(4) == struct.pack(">I", port)
    return False


class ErlangHome:
    """A folder with a cookie, a port mapper (epmd) on the loopback interface, and the processes that were started here.

    All of it is gone after `close`, or when this process is gone, even by SIGKILL.
    """

    def __init__(self, server: Path, *, choose_ports: Callable[[int], list[int]] = free_ports) -> None:
        """Choose a port; nothing is made yet.

        Args:
            server: the ``rabbitmq-server`` script that the nodes are started with.
            choose_ports: returns as many free ports as it is asked for.
        """
        self.server = server
        self.choose_ports = choose_ports
        self.epmd_port = choose_ports(1)[0]
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
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_CRASH_DUMP": str(self.folder / "erl_crash.dump"),
        }

    def start_epmd(self) -> None:
        """Start the port mapper if it does not run, on another port than was chosen if that is taken.

        Raises:
            BrokerError: it does not start.
        """
        if self._epmd is not None:
            return
        tried: list[int] = []
        while len(tried) < ATTEMPTS:
            if is_free(self.epmd_port) and self._run_epmd():
                return
            tried.append(self.epmd_port)
            self.epmd_port = self.choose_ports(1)[0]
        said = self._epmd_log.read_text(errors="replace") if self._epmd_log.exists() else ""
        raise BrokerError(f"epmd did not start on any of the ports {tried}: other programs took them. {said}".rstrip())

    def _run_epmd(self) -> bool:
        """Start epmd and wait until it answers; return False if it ends, as where its port is taken."""
        command = [find_epmd(self.server), "-port", str(self.epmd_port), "-address", "127.0.0.1"]
        with self._epmd_log.open("wb") as output:
            self._epmd = self.spawn(command, self.environment(), output=output.fileno())
        deadline = time.monotonic() + _EPMD_TIMEOUT
        while self._epmd.poll() is None:
            if _is_epmd(self.epmd_port):
                return True
            if time.monotonic() > deadline:
                raise BrokerError(f"epmd did not answer within {_EPMD_TIMEOUT:g} s")
            time.sleep(0.01)
        self._epmd = None
        return False

    @property
    def _epmd_log(self) -> Path:
        return self.folder / "epmd.log"

    def spawn(self, command: list[str], environment: Mapping[str, str], *, output: int) -> subprocess.Popen[bytes]:
        """Start a program in a process group of its own: all of it can be killed, and Ctrl-C spares it."""
        process = subprocess.Popen(
            command,
            cwd=self.folder,
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
