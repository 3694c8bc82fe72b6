"""RabiBridge 0.1.2 from the package registry, in a virtual environment of its own, to talk with.

Its import name is ours, so it runs only in processes of its own: a script is started there and exchanges JSON objects
with us, one a line, on its stdin and stdout.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from tools.venv import VenvError, venv_python

ROOT = Path(__file__).parents[1]
PEER_FOLDER = ROOT / ".venv-peer"
# It names no versions of what it needs: these majors are known to work with it.
_REQUIREMENTS = ("RabiBridge==0.1.2", "aio-pika>=9,<11", "pydantic>=2,<3")
_LOG_TAIL = 2000


class PeerError(RuntimeError):
    """The peer could not be installed, or one of its processes ended or kept silent."""


def peer_python(folder: Path = PEER_FOLDER) -> Path:
    """Return the interpreter of the peer's virtual environment, which is made on first use and kept.

    Raises:
        PeerError: it could not be installed, as without a package registry.
    """
    try:
        return venv_python(folder, _REQUIREMENTS)
    except VenvError as error:
        raise PeerError(f"RabiBridge 0.1.2 could not be installed: {error}") from error


def peer_home(folder: Path, python: Path, serializer: str) -> Path:
    """Make a folder from which the peer is imported with this serializer, and return it.

    The peer reads its configuration from beside its package, and cannot send anything without one. A link to the
    package in a folder of its own gives every process the configuration that it wants.
    """
    home = folder / f"peer-{serializer}"
    if not home.exists():
        (home / "config").mkdir(parents=True)
        (package,) = python.parents[1].glob("lib/python*/site-packages/rabibridge")
        (home / "rabibridge").symlink_to(package)
        (home / "config/env.toml").write_text(
            f'[app]\nCID_MAX = 1073741824\nCOMPRESS_THRESHOLD = 1024\nSERIALISER = "{serializer}"\n'
        )
    return home


class PeerProcess:
    """A script that runs in the peer's environment; use it as a context manager.

    An object with an ``id`` that it writes answers the :meth:`call` of that id, all others are events.
    """

    def __init__(self, python: Path, home: Path, script: Path, config: dict[str, Any]) -> None:
        """Start ``script`` with ``config`` as its argument and ``home`` from :func:`peer_home`."""
        self._log = home / f"{script.stem}-{id(self)}.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "RABI"))}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(python), str(script), json.dumps(config)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment | {"PYTHONPATH": str(home)},
                text=True,
            )
        self._pending: dict[int, Future[dict[str, Any]]] = {}
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._count = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            message = json.loads(line)
            if "id" in message:
                self._pending.pop(message["id"]).set_result(message)
            else:
                self._events.put(message)
        self._events.put(None)
        for future in list(self._pending.values()):
            future.set_exception(self._ended())

    def _ended(self) -> PeerError:
        return PeerError(f"the peer's process ended; its log ends with\n{self._log.read_text()[-_LOG_TAIL:]}")

    def send(self, message: dict[str, Any]) -> None:
        """Write an object to its stdin."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def call(self, **message: Any) -> Future[dict[str, Any]]:
        """Write an object with a new id and return the future of what answers it."""
        self._count += 1
        future = self._pending[self._count] = Future[dict[str, Any]]()
        self.send({"id": self._count, **message})
        return future

    def event(self, timeout: float = 30.0) -> dict[str, Any]:
        """Wait for the next event.

        Raises:
            PeerError: none came within ``timeout`` seconds, or the process has ended.
        """
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            raise PeerError(f"no event of the peer within {timeout:g} s") from None
        if event is None:
            raise self._ended()
        return event

    def stop(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
