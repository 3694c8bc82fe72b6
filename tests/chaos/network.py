"""A network between a process and the broker that can be broken: a TCP proxy."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Self

from yarl import URL

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["TASK_NAME", "Network"]

TASK_NAME = "network"
"""The name of its tasks, two for each connection: they are no part of what is tested."""


class Network:
    """Passes bytes on between whoever connects and the broker of ``url``.

    Attributes:
        accepted: how many connections were made through it.
        up: cleared, nothing passes to the broker any more, and nobody is told.
        down: the same towards the clients.
        delay: seconds that every byte is late.
        refusing: new connections are reset.
    """

    def __init__(self, url: str) -> None:
        self.accepted = 0
        self.up = asyncio.Event()
        self.down = asyncio.Event()
        self.delay = 0.0
        self.refusing = False
        self.thaw()
        self._target = URL(url)
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        """The broker's URL with the proxy's address."""
        port = self._server.sockets[0].getsockname()[1]
        return str(self._target.with_host("127.0.0.1").with_port(port))

    def freeze(self, *, up: bool = True, down: bool = True) -> None:
        """Let nothing pass any more: the other side is silent, and yet nothing is closed."""
        if up:
            self.up.clear()
        if down:
            self.down.clear()

    def thaw(self) -> None:
        """Let everything pass that was held up, and what comes."""
        self.up.set()
        self.down.set()

    def reset(self) -> None:
        """Reset every connection, on both sides."""
        for writer in self._open:
            if not writer.is_closing():
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        self.thaw()
        self.reset()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        try:
            broker_reader, broker_writer = await asyncio.open_connection(self._target.host, self._target.port)
        except OSError:
            writer.transport.abort()  # the broker is not there
            return
        self.accepted += 1
        self._open |= {writer, broker_writer}
        for source, target, flowing in ((reader, broker_writer, self.up), (broker_reader, writer, self.down)):
            task = asyncio.create_task(self._pass(source, target, flowing), name=TASK_NAME)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
        try:
            while data := await source.read(2**16):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await flowing.wait()
                target.write(data)
                await target.drain()
        except OSError:
            pass  # a connection that was reset ends like one that was closed
        finally:
            await flowing.wait()
            target.close()
            self._open.discard(target)
