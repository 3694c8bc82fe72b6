"""What the tests of gateways share: functions to call, and servers that real browsers' sockets reach."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.dashboard.conftest import chromium
from tests.support.uvicorn_server import on_uvicorn
from tests.support.waiting import soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from rabibridge_testing import FakeBroker

__all__ = ["Handlers", "chromium", "handlers"]


class Handlers:
    """Functions on the fake broker, and what became of their calls."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.running = 0
        self.yielded = 0

    async def add(self, a: int, b: int) -> int:
        return a + b

    async def hang(self) -> None:
        await self._until_cancelled()

    async def _until_cancelled(self) -> None:
        self.running += 1
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        finally:
            self.running -= 1

    async def count(self, number: int) -> AsyncIterator[int]:
        for index in range(number):
            yield index

    async def rows(self, number: int, *, start_at: int) -> AsyncIterator[int]:
        for index in range(start_at, number):
            yield index

    async def endless(self, size: int = 1000) -> AsyncIterator[str]:
        self.running += 1
        self.begun.set()
        try:
            while True:
                self.yielded += 1
                yield "x" * size
        finally:
            self.running -= 1
            self.cancelled.set()

    async def breaks(self, after: int) -> AsyncIterator[int]:
        for index in range(after):
            yield index
        raise RuntimeError("hunter2")

    async def doubled(self, items: AsyncIterator[int]) -> AsyncIterator[int]:
        async for item in items:
            yield 2 * item

    async def quiet(self) -> AsyncIterator[int]:
        yield 1
        await self._until_cancelled()


@pytest.fixture
def handlers(fake_broker: FakeBroker) -> Handlers:
    made = Handlers()
    for function in (made.add, made.hang, made.count, made.endless, made.breaks, made.doubled, made.quiet):
        fake_broker.add_service(function, name=function.__name__)
    fake_broker.add_service(made.rows, name="rows", resumable=True)
    return made


@asynccontextmanager
async def on_hypercorn(app: Any) -> AsyncIterator[int]:
    hypercorn = pytest.importorskip("hypercorn")
    serve = pytest.importorskip("hypercorn.asyncio").serve
    config = hypercorn.Config()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config.bind = [f"127.0.0.1:{port}"]
    config.graceful_timeout = 2
    config.loglevel = "warning"
    stop = asyncio.Event()
    running = asyncio.create_task(serve(app, config, shutdown_trigger=stop.wait))
    while not await _listens(port) and not running.done():  # noqa: ASYNC110 - hypercorn gives no notice
        await asyncio.sleep(0.01)
    if running.done():
        await running
        raise RuntimeError("hypercorn has not started: its log says why")
    try:
        yield port
    finally:
        stop.set()
        await soon(running)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


SERVERS: dict[str, Callable[[Any], Any]] = {"uvicorn": on_uvicorn, "hypercorn": on_hypercorn}


async def request(port: int, path: str, *, headers: str = "", method: str = "GET", body: str = "") -> Any:
    """Send a request on a connection of its own; return reader and writer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    writer.write(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}{headers}\r\n{body}".encode())
    await writer.drain()
    return reader, writer


def events_of(text: str) -> list[tuple[str, str, Any]]:
    """Return name, id and data of the events in the body of a response."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if line and not line.startswith(":"))
        if "data" in fields:
            found.append((fields.get("event", "message"), fields.get("id", ""), json.loads(fields["data"])))
    return found
