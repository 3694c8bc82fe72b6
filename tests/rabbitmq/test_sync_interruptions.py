"""Interrupted programs: what ends a stream or an upload has left before the exception is raised."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rabibridge import current_call
from tests.support.processes import Processes
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.rabbitmq.support import Stage
    from tests.support.processes import Process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks into /proc")
INTERRUPTIONS = 15
"""Five ways to wait, each interrupted in three ways."""


class Functions:
    """Functions that end only when they are cancelled."""

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Queue[None](), asyncio.Queue[None]()

    async def stream(self) -> AsyncIterator[int]:
        try:
            yield 1
            await self._wait()
        finally:
            self.ended.put_nowait(None)

    async def upload(self, items: AsyncIterator[int]) -> None:
        try:
            await anext(items)
            await self._wait()
        finally:
            self.ended.put_nowait(None)

    async def both(self, items: AsyncIterator[int]) -> AsyncIterator[int]:
        async for item in self.stream():
            yield item

    async def _wait(self) -> None:
        current_call().progress(0.5)
        self.begun.put_nowait(None)
        await asyncio.Event().wait()


async def test_the_end_leaves_before_the_exception_is_raised(stage: Stage, tmp_path: Path) -> None:
    functions = Functions()
    server = stage.new_server()
    for name in ("stream", "upload", "both"):
        server.add_service(getattr(functions, name), name=f"interrupted_{name}")
    await soon(server.connect())
    stage.start(server)
    await soon(server.wait_serving())
    names = {name.upper(): f"interrupted_{name}" for name in ("stream", "upload", "both")}
    async with Processes(tmp_path) as processes:
        environment = {"RABIBRIDGE_URL": stage.url, **names}
        process = await processes.start("tests.rabbitmq.sync_interrupted", environment, Path(sys.executable))
        for _ in range(INTERRUPTIONS):
            await soon(functions.begun.get())
            process.write_line()
            await until(lambda: stopped(process))
            await soon(functions.ended.get())
            process.send(signal.SIGCONT)
        await soon(functions.begun.get())
        process.write_line()  # it closes a generator that reads a stream, and then does nothing
        await soon(functions.ended.get())
        process.write_line()
        assert await process.ended() == 7, process.log.read_text()


def stopped(process: Process) -> bool:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
