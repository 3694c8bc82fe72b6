"""A TCP proxy between a client and a broker that does what networks do: freeze, cut, garble, dribble."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Self

from yarl import URL

if TYPE_CHECKING:
    from types import TracebackType


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, down: asyncio.StreamWriter, up: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.down = down  # to the client
        self.up = up  # to the broker
        self._unaligned = b""

    async def pump_up(self, source: asyncio.StreamReader) -> None:
        await self._pump(source, self.up, to_client=False)

    async def pump_down(self, source: asyncio.StreamReader) -> None:
        await self._pump(source, self.down, to_client=True)

    async def _pump(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, *, to_client: bool) -> None:
        try:
            while data := await source.read(65536):
                await self.proxy.flowing.wait()
                if to_client:
                    data = self._whole_frames(data)
                    size = self.proxy.slice_size or len(data) or 1
                    for start in range(0, len(data), size):
                        target.write(data[start : start + size])
                        await target.drain()
                        if self.proxy.slice_size:
                            await asyncio.sleep(0)  # each slice is a packet of its own
                else:
                    target.write(data)
                    await target.drain()
        except (ConnectionError, OSError):
            pass  # either side is gone: so is the link
        finally:
            await self.proxy.flowing.wait()
            self.down.close()
            self.up.close()

    def _whole_frames(self, data: bytes) -> bytes:
        """Hold back a frame that is not complete, so that :meth:`inject` never lands inside one."""
        data = self._unaligned + data
        position = 0
        while len(data) - position >= 7:
            end = position + 8 + int(struct.unpack_from(">I", data, position + 3)[0])
            if end > len(data):
                break
            position = end
        self._unaligned = data[position:]
        return data[:position]

    def inject(self, data: bytes) -> None:
        """Send the client something that the broker never said, between two frames."""
        self.down.write(data)

    def end(self, data: bytes = b"") -> None:
        """Send the client this and then the end of the stream, as a broker does that is shut down."""
        self.down.write(data)
        self.down.close()
        self.up.transport.abort()

    def cut(self) -> None:
        """Reset both sides."""
        for writer in (self.down, self.up):
            if writer.is_closing():
                continue
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


class Proxy:
    """Listens on the loopback interface and passes on to the broker of ``url``.

    Attributes:
        links: all connections there ever were, the newest last.
        flowing: cleared, nothing passes any more in either direction, and nobody is told.
        slice_size: so many bytes go to clients at a time; ``None``: as they come.
        refusing: new connections are reset.
    """

    def __init__(self, url: str) -> None:
        self._target = URL(url)
        self.links: list[Link] = []
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.slice_size: int | None = None
        self.refusing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    @property
    def url(self) -> str:
        """The broker's URL with the proxy's address."""
        port = self._server.sockets[0].getsockname()[1]
        return str(self._target.with_host("127.0.0.1").with_port(port))

    @property
    def link(self) -> Link:
        """The newest connection."""
        return self.links[-1]

    def freeze(self) -> None:
        """Let nothing pass any more: to both sides the other is silent."""
        self.flowing.clear()

    def thaw(self) -> None:
        """Let everything pass that was held up, and what comes."""
        self.flowing.set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        up_reader, up_writer = await asyncio.open_connection(self._target.host, self._target.port)
        link = Link(self, writer, up_writer)
        self.links.append(link)
        for pump in (link.pump_up(reader), link.pump_down(up_reader)):
            task = asyncio.create_task(pump)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        self.thaw()
        for link in self.links:
            link.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)
