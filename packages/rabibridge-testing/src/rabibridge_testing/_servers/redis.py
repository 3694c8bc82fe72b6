"""A Redis of our own, from an installed ``redis-server`` or ``valkey-server``."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Protocol, Self

from rabibridge_testing._servers.ports import free_ports
from rabibridge_testing._servers.reaper import Reaper, kill_group

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["SERVER_VARIABLE", "GivenRedis", "PrivateRedis", "RedisServer", "find_redis_server"]

SERVER_VARIABLE = "RABIBRIDGE_TEST_REDIS_SERVER"
_NAMES = ("redis-server", "valkey-server")
_ATTEMPTS = 5
_TIMEOUT = 30.0


def find_redis_server() -> str | None:
    """Return the path of a server program; None where none is installed."""
    named = os.environ.get(SERVER_VARIABLE)
    return shutil.which(named) if named else next(filter(None, map(shutil.which, _NAMES)), None)


class RedisServer(Protocol):
    """A Redis or Valkey that can be used."""

    @property
    def url(self) -> str:
        """The URL of its first database."""
        ...

    def __enter__(self) -> Self:
        """Start it, if it is ours."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it, if it is ours."""
        ...


class GivenRedis:
    """A server that somebody else runs, known by its URL.

    Attributes:
        url: the URL as it was given.
    """

    def __init__(self, url: str) -> None:
        """Take the URL."""
        self.url = url

    def __enter__(self) -> Self:
        """Leave it as it is."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave it as it is."""


class PrivateRedis:
    """A server on a free port of the loopback interface, with a folder of its own.

    All of it is gone after :meth:`stop`, or when this process is gone, even by SIGKILL.

    Attributes:
        port: where it listens; the same after :meth:`restart`.
    """

    def __init__(self, *options: str) -> None:
        """Prepare a server that keeps an append-only file; ``options`` are further ones, as on its command line."""
        self.port = 0
        self._options = options
        self._folder = ""
        self._reaper: Reaper | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL of its first database."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it, and wait until it answers.

        Raises:
            RuntimeError: it does not start.
        """
        if self._reaper is None:
            self._reaper = Reaper()
            self._folder = tempfile.mkdtemp(prefix="rabibridge-redis-")
            self._reaper.watch_folder(self._folder)
        for _ in range(_ATTEMPTS):
            port = self.port or free_ports(1)[0]
            if self._run(port):
                self.port = port
                return
        raise RuntimeError(f"{find_redis_server()} does not start: {self._said()}")

    def _run(self, port: int) -> bool:
        program = find_redis_server()
        assert program is not None
        assert self._reaper is not None
        with open(f"{self._folder}/output", "wb") as output:
            self._process = subprocess.Popen(
                [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", self._folder, "--appendonly", "yes",
                 "--appendfsync", "everysec", "--save", "", *self._options],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        self._reaper.watch_group(self._process.pid)
        deadline = time.monotonic() + _TIMEOUT
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(64).startswith(b"+PONG"):
                    return True
            time.sleep(0.01)  # nothing tells when it listens
        self.kill()
        return False

    def _said(self) -> str:
        with open(f"{self._folder}/output", errors="replace") as output:
            return output.read()[-2000:]

    def kill(self) -> None:
        """Kill it, as the loss of its machine would."""
        if self._process is not None:
            kill_group(self._process.pid)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Freeze it: it keeps its connections and does not answer."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen one go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it, and remove its folder."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._reaper is not None:
            self._reaper.close()
            self._reaper = None

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it."""
        self.stop()
