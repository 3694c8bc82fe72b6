"""Programs that tests of the Redis transport run in processes of their own, and that speak in lines."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support import fork_server
from tests.support.fork_server import server_of_commands
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["line", "program"]


@contextmanager
def program(text: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program, and kill it at the end."""
    process = fork_server.start(server_of_commands, ["-c", text, *arguments], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


async def line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a program prints."""
    assert process.stdout is not None
    return (await soon(asyncio.to_thread(process.stdout.readline))).strip()
