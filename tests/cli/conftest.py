"""The ``rabibridge`` command as a process, and a worker for it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.support import fork_server
from tests.support.fork_server import server_of_commands

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rabibridge_testing._servers.base import Broker

SERVICES = """
import asyncio
from datetime import date
from decimal import Decimal
from pathlib import Path

from rabibridge import current_call, register_call

@register_call
async def add(a, b=1):
    return a + b

@register_call(validate=True)
async def typed(a: int, b: int) -> int:
    return a + b

@register_call
async def echo(value):
    return value

@register_call
async def about_call():
    call = current_call()
    return {"headers": dict(call.headers), "time_left": call.time_left}

@register_call
async def odd():
    return {
        "bytes": b"\\x00\\xff", "date": date(2024, 5, 17), "decimal": Decimal("1.50"), "tuple": (1, 2), "set": {1},
        "not a number": float("nan"), "infinite": float("-inf"), "\\x9b31m": "\\u202e",
    }

@register_call
async def fail():
    raise LookupError("nothing here \\x1b[31m\\nerror: forged")

@register_call
async def count(items, fail_at=-1):
    try:
        for number in range(items):
            if number == fail_at:
                raise ValueError("in the middle")
            yield number
    finally:
        Path("count.ended").touch()

@register_call
async def wait():
    try:
        current_call().progress(0.25, "it runs")
        await asyncio.sleep(3600)
    finally:
        Path("wait.ended").touch()

@register_call
async def note(text):
    Path("note.txt").write_text(text)

@register_call(queue_size=1, fetch_size=1, rate="300/s")
async def narrow():
    Path("narrow.began").touch()
    await asyncio.sleep(3600)
"""


class Command(NamedTuple):
    """The command in a folder, with a broker."""

    url: str
    folder: Path

    def __call__(self, *arguments: str, stdin: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return fork_server.run(
            server_of_commands,
            ["-m", "rabibridge", *arguments],
            cwd=self.folder,
            env=self.environment() | variables,
            input=stdin,
            text=True,
            timeout=180,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it, with pipes for what it prints."""
        return fork_server.start(
            server_of_commands,
            ["-m", "rabibridge", *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "rabibridge", *arguments]

    def environment(self) -> dict[str, str]:
        # pytest-xdist sets COLUMNS, which would let tables break their lines.
        not_ours = ("RABIBRIDGE_", "COLUMNS")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(not_ours)}
        return kept | {"RABIBRIDGE_URL": self.url}

    @contextmanager
    def serving(self, *targets: str) -> Iterator[subprocess.Popen[str]]:
        """Run a worker, from when it serves until the end of the block."""
        with self.start("run", *targets) as process:
            assert process.stderr is not None
            heard = []
            for line in process.stderr:
                heard.append(line)
                if "serves" in line:
                    break
            else:
                pytest.fail("".join(heard))
            try:
                yield process
            finally:
                process.kill()


@pytest.fixture(scope="session")
def worker(rabbitmq: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Command]:
    """The command beside a worker of :data:`SERVICES`, which all tests of a process share."""
    command = Command(rabbitmq.fresh_vhost(), tmp_path_factory.mktemp("worker"))
    (command.folder / "services.py").write_text(SERVICES)
    with command.serving("services.py"):
        yield command
