"""Programs that tests of the Redis transport run in processes of their own, and that speak in lines."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["line", "program"]


@contextmanager
def program(text: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program, and kill it at the end."""
    process = subprocess.Popen([sys.executable, "-c", text, *arguments], stdout=subprocess.PIPE, text=True)
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
