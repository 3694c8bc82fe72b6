"""Serves the pages beside a server, a client or a supervisor."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING

from rabibridge_telemetry._metrics.client_calls import count_calls
from rabibridge_telemetry.health_server.http_server import HttpServer, listen
from rabibridge_telemetry.health_server.sources import ProgramSource, SupervisorSource

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from rabibridge_core._hosting.supervisor.monitor import SupervisorView
    from rabibridge_telemetry.health_server.sources import HasHealth, Source

__all__ = ["Monitor", "count_calls", "health_server", "open_monitor"]

_TURN = 1.0


@asynccontextmanager
async def health_server(*parts: HasHealth, port: int, host: str = "127.0.0.1") -> AsyncIterator[int]:
    """Serve ``/metrics``, ``/healthz`` and ``/readyz`` beside clients and servers, during an ``async with`` block.

    It serves in a thread of its own, so that it answers also while the event loop of the program stands still, and says
    so. Call :func:`rabibridge_telemetry.prometheus.start` before clients and servers are made, or make them in the
    block: those that were made before anybody wanted metrics count nothing.

    Args:
        *parts: the clients and servers that have to be healthy for ``/readyz``; they run on this event loop.
        port: the port to listen on; 0: any that is free.
        host: the address to listen on; by default only this machine can reach it. Listening on a loopback address, it
            answers only requests that name one, as a page in a browser could ask under a name of its own.

    Yields:
        The port.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    async with open_monitor(host, port).beside(*parts) as opened:
        yield opened


def open_monitor(host: str, port: int) -> Monitor:
    """Return what serves beside a supervisor or a server, on a socket that listens already; let this process count.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    monitor = Monitor(listen(host, port))
    count_calls()
    return monitor


class Monitor:
    """Implements ``rabibridge run --metrics-port``: beside a supervisor, or in a process that serves itself."""

    def __init__(self, listening: socket.socket) -> None:
        """Serve on ``listening``."""
        self._socket = listening
        self._view: SupervisorView | None = None

    async def watch(self, supervisor: SupervisorView, /) -> None:
        """Serve beside a supervisor, on its event loop, until cancelled."""
        self._view = supervisor
        server = HttpServer(SupervisorSource(lambda: self._view), self._socket)
        await server.start()
        try:
            await asyncio.Event().wait()
        finally:
            await server.close()

    @asynccontextmanager
    async def beside(self, *parts: HasHealth) -> AsyncIterator[int]:
        """Serve beside clients and servers of this event loop, in a thread; give the port."""
        source = ProgramSource(parts, loop=asyncio.get_running_loop())
        source.turned(monotonic())
        thread = _ServingThread(source, self._socket)
        thread.start()  # a matter of milliseconds, as is the end: no executor is left then
        turning = asyncio.create_task(_turn(source))
        try:
            yield thread.port
        finally:
            turning.cancel()
            with suppress(asyncio.CancelledError):
                await turning
            thread.stop()


async def _turn(source: ProgramSource) -> None:
    while True:
        source.turned(monotonic())
        await asyncio.sleep(_TURN)


class _ServingThread:
    """Serves on an event loop of its own, in a thread of its own."""

    def __init__(self, source: Source, listening: socket.socket) -> None:
        self._source = source
        self._socket = listening
        self.port: int = listening.getsockname()[1]
        self._thread = threading.Thread(target=self._run, name="rabibridge-health-server", daemon=True)
        self._serves = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    def start(self) -> None:
        self._thread.start()
        self._serves.wait()

    def stop(self) -> None:
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
                runner.run(self._serve())
        finally:
            self._serves.set()

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        server = HttpServer(self._source, self._socket)
        await server.start()
        self._serves.set()
        try:
            await self._stopping.wait()
        finally:
            await server.close()
