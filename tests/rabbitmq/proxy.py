"""A TCP proxy in front of a broker: it keeps what passes, counts connections and cuts them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from types import TracebackType


class Proxy:
    """Passes bytes on between clients and the broker of ``url``.

    Attributes:
        url: the URL of the same virtual host through the proxy.
        sent: what clients sent, one entry for each connection.
        refusing: whether new connections are cut at once.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._parts = urlsplit(url)
        self.url = ""
        self.sent: list[bytearray] = []
        self.refusing = False
        self._server: asyncio.Server
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = self._url.replace(f"{self._parts.hostname}:{self._parts.port}", f"127.0.0.1:{port}")
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self) -> None:
        """Cut all connections."""
        for writer in self._open:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        sent = bytearray()
        self.sent.append(sent)
        broker_reader, broker_writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        self._open |= {writer, broker_writer}
        for source, target, copy in ((reader, broker_writer, sent), (broker_reader, writer, bytearray())):
            task = asyncio.create_task(self._pass(source, target, copy))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, copy: bytearray) -> None:
        try:
            while data := await source.read(2**16):
                copy += data
                target.write(data)
                await target.drain()
        except ConnectionError:
            pass  # a cut connection ends like a closed one
        finally:
            target.close()
            self._open.discard(target)
