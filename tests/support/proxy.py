"""A TCP proxy between a client and a broker that does what networks do: freeze, cut, delay, garble, dribble."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Self

from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["TASK_NAME", "Link", "Proxy"]

TASK_NAME = "proxy"
"""The name of the proxy's tasks, two for each connection, so that a test can tell them from those it looks for."""


class Link:
    """One connection through the proxy.

    Attributes:
        sent: what the client sent, if the proxy records it.
    """

    def __init__(self, proxy: Proxy, down: asyncio.StreamWriter, up: asyncio.StreamWriter) -> None:
        self.proxy = proxy
        self.down = down  # to the client
        self.up = up  # to the broker
        self.sent = bytearray()
        self._unaligned = b""

    async def pump_up(self, source: asyncio.StreamReader) -> None:
        """Pass on what the client sends."""
        try:
            while data := await source.read(2**16):
                if self.proxy.recording:
                    self.sent += data
                if self.proxy.when_sent and self.proxy.when_sent[0][0] in data:
                    self.proxy.when_sent.pop(0)[1]()
                await self._wait(self.proxy.up)
                for given, meant in self.proxy.replaced.items():
                    data = data.replace(given, meant)
                self.up.write(data)
                await self.up.drain()
        except OSError:
            pass  # a connection that was reset ends like one that was closed
        finally:
            await self.proxy.up.wait()
            self.close()

    async def pump_down(self, source: asyncio.StreamReader) -> None:
        """Pass on what the broker sends."""
        try:
            while data := await source.read(2**16):
                await self._wait(self.proxy.down)
                if self.proxy.whole_frames:
                    data = self._whole_frames(data)
                size = self.proxy.slice_size or len(data) or 1
                for start in range(0, len(data), size):
                    part = data[start : start + size]
                    self.down.write(part)
                    if self.proxy.when_received and self.proxy.when_received[0][0] in part:
                        self.proxy.when_received.pop(0)[1]()
                    await self.down.drain()
                    if self.proxy.slice_size:
                        await asyncio.sleep(0)  # each slice is a packet of its own
        except OSError:
            pass
        finally:
            await self.proxy.down.wait()
            self.close()

    async def _wait(self, flowing: asyncio.Event) -> None:
        if self.proxy.delay:
            await asyncio.sleep(self.proxy.delay)
        await flowing.wait()

    def _whole_frames(self, data: bytes) -> bytes:
        """Hold back a frame that is not complete, so that `inject` never lands inside one."""
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
        """Send the client something that the broker never said; between two frames if those are passed on whole."""
        self.down.write(data)

    def end(self, data: bytes = b"") -> None:
        """Send the client this and then the end of the stream, as a broker does that is shut down."""
        self.down.write(data)
        self.down.close()
        self.up.transport.abort()

    def close(self) -> None:
        """Close both sides."""
        self.down.close()
        self.up.close()

    def cut(self) -> None:
        """Reset both sides."""
        for writer in (self.down, self.up):
            if not writer.is_closing():
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()


class Proxy:
    """Listens on the loopback interface and passes on to the broker of ``url``.

    Attributes:
        links: all connections there ever were, the newest last, except those that were forgotten.
        up: cleared, nothing passes to the broker, and nobody is told.
        down: the same towards the clients.
        delay: seconds that everything is late.
        slice_size: so many bytes go to clients at a time; ``None``: as they come.
        refusing: new connections are reset.
        refused: how many were.
        recording: whether links keep what clients send.
        replaced: bytes that clients send, and what the broker gets instead.
        when_sent: bytes, and what is called when a client sends the first of them, which is used up then.
        when_received: the same for what the broker sends; it is called once they are passed on.
        whole_frames: whether clients get a frame only once all of it is there.
    """

    def __init__(self, url: str, *, recording: bool = False, whole_frames: bool = False) -> None:
        self.links: list[Link] = []
        self.up = asyncio.Event()
        self.down = asyncio.Event()
        self.delay = 0.0
        self.slice_size: int | None = None
        self.refusing = False
        self.refused = 0
        self.replaced: dict[bytes, bytes] = {}
        self.when_sent: list[tuple[bytes, Callable[[], None]]] = []
        self.when_received: list[tuple[bytes, Callable[[], None]]] = []
        self.recording = recording
        self.whole_frames = whole_frames
        self.thaw()
        self._target = URL(url)
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

    def freeze(self, *, up: bool = True, down: bool = True) -> None:
        """Let nothing pass: the other side is silent, and yet nothing is closed."""
        if up:
            self.up.clear()
        if down:
            self.down.clear()

    def thaw(self) -> None:
        """Let everything pass that was held up, and what comes."""
        self.up.set()
        self.down.set()

    def cut(self) -> None:
        """Reset every connection, on both sides."""
        for link in self.links:
            link.cut()

    def forget_closed(self) -> None:
        """Forget connections that are closed, with what is buffered in them."""
        self.links = [link for link in self.links if not link.down.is_closing()]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        self.thaw()
        self.cut()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            self.refused += 1
            writer.transport.abort()
            return
        try:
            up_reader, up_writer = await asyncio.open_connection(self._target.host, self._target.port)
        except OSError:
            writer.transport.abort()  # the broker is not there
            return
        link = Link(self, writer, up_writer)
        self.links.append(link)
        for pump in (link.pump_up(reader), link.pump_down(up_reader)):
            task = asyncio.create_task(pump, name=TASK_NAME)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
