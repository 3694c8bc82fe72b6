"""What systemd hears of a supervisor: when all workers serve, that they live, and when they are replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import contextmanager
from time import monotonic_ns
from typing import TYPE_CHECKING

import pytest

from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rabibridge import RMQClient
    from tests.workers.support import Program


class _Manager:
    """A socket as systemd offers it."""

    def __init__(self, address: str) -> None:
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.setblocking(False)
        asyncio.get_running_loop().add_reader(self._socket, self._receive)

    def _receive(self) -> None:
        self.heard.append(self._socket.recv(4096).decode())

    def states(self) -> list[str]:
        return [text for text in self.heard if text != "WATCHDOG=1"]

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


@contextmanager
def _manager(address: str) -> Iterator[_Manager]:
    manager = _Manager(address)
    try:
        yield manager
    finally:
        manager.close()


async def test_it_hears_of_ready_reload_watchdog_and_stop(program: Program, client: RMQClient, tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    variables = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "2000000"}
    with (
        _manager(address) as manager,
        program.command("services.py", "--workers", "2", variables=variables) as running,
    ):
        await running.serves(2)
        await until(lambda: manager.states() == ["READY=1"])
        assert await soon(client.remote_call("environment", timeout=60)) == []
        before = monotonic_ns() // 1000
        running.send(signal.SIGHUP)
        await until(lambda: len(manager.states()) == 3)
        reloading, usec = manager.states()[1].splitlines()
        assert (reloading, manager.states()[2]) == ("RELOADING=1", "READY=1")
        assert before <= int(usec.removeprefix("MONOTONIC_USEC=")) <= monotonic_ns() // 1000
        beats = manager.heard.count("WATCHDOG=1")
        await until(lambda: manager.heard.count("WATCHDOG=1") >= beats + 2)
        # One of two event loops stands still.
        await client.notify("block")
        await running.logged("stands still")
        stopped = manager.heard.count("WATCHDOG=1")
        await asyncio.sleep(3)
        assert manager.heard.count("WATCHDOG=1") <= stopped + 1
        (program.folder / "unblock").touch()
        await until(lambda: manager.heard.count("WATCHDOG=1") >= stopped + 3)
        running.send(signal.SIGTERM)
        assert await running.ended() == 0
        await until(lambda: manager.states()[3:] == ["STOPPING=1"])


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
async def test_it_hears_of_a_process_without_workers(program: Program, tmp_path: Path, abstract: bool) -> None:
    name = f"rabibridge-{os.getpid()}-{tmp_path.name}"
    address, shown = ("\0" + name, "@" + name) if abstract else (str(tmp_path / "notify"),) * 2
    variables = {"NOTIFY_SOCKET": shown, "WATCHDOG_USEC": "1000000"}
    with _manager(address) as manager, program.command("services.py", variables=variables) as running:
        await until(lambda: manager.states() == ["READY=1"] and manager.heard.count("WATCHDOG=1") > 1)
        running.send(signal.SIGTERM)
        assert await running.ended() == 0
        await until(lambda: manager.states() == ["READY=1", "STOPPING=1"])
