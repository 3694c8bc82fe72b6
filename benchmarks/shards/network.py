"""Brokers in network namespaces of their own, so that one can be cut off as if its cable was pulled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Self

from benchmarks.environments import ROOT

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Host", "may_have_namespaces"]


def may_have_namespaces() -> bool:
    """Tell whether this process may make network namespaces."""
    return shutil.which("ip") is not None and os.geteuid() == 0


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


class Host:
    """A host with one broker. Used as a context manager, it is there inside.

    Attributes:
        name: its name.
        url: the URL of its broker.
    """

    def __init__(self, name: str, number: int) -> None:
        """Choose its addresses; ``number`` is one that no other host has."""
        self.name = name
        self.url = ""
        self._space = f"rb-{os.getpid()}-{number}"
        self._link = f"rb{os.getpid() % 100_000}-{number}"
        self._address, self._ours = f"10.177.{number}.2", f"10.177.{number}.1"
        self._stack = ExitStack()
        self._node: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        """Make it, and start its broker."""
        with ExitStack() as stack:
            _ip("netns", "add", self._space)
            stack.callback(_ip, "netns", "del", self._space)
            _ip("link", "add", self._link, "type", "veth", "peer", "name", "eth0", "netns", self._space)
            _ip("addr", "add", f"{self._ours}/24", "dev", self._link)
            _ip("link", "set", self._link, "up")
            _ip("-n", self._space, "addr", "add", f"{self._address}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                _ip("-n", self._space, "link", "set", device, "up")
            command = [
                "ip",
                "netns",
                "exec",
                self._space,
                sys.executable,
                "-m",
                "benchmarks.shards.node",
                self._address,
            ]
            self._node = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.callback(self._stop)
            self.url = self._read()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Remove it."""
        self._stack.close()

    def cut_off(self) -> None:
        """Pull its cable: nothing arrives any more, and nobody is told."""
        _ip("-n", self._space, "link", "set", "eth0", "down")

    def plug_in(self) -> None:
        """Put the cable back."""
        _ip("-n", self._space, "link", "set", "eth0", "up")

    def kill(self) -> None:
        """Kill its broker."""
        self._tell("kill")

    def start(self) -> None:
        """Start its broker again."""
        self._tell("start")

    def _tell(self, command: str) -> None:
        assert self._node is not None
        assert self._node.stdin is not None
        print(command, file=self._node.stdin, flush=True)
        if self._read() != command:
            raise RuntimeError(f"{self.name} did not {command}")

    def _read(self) -> str:
        assert self._node is not None
        assert self._node.stdout is not None
        line = self._node.stdout.readline().strip()
        if not line:
            raise RuntimeError(f"the broker of {self.name} has ended with {self._node.wait()}")
        return line

    def _stop(self) -> None:
        assert self._node is not None
        assert self._node.stdin is not None
        self._node.stdin.close()
        self._node.wait()
