"""The network between a process and the broker: bytes in pieces of any size, late, held up, and cut off anywhere."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.simulation.amqp.connection import BrokerConnection
from tests.simulation.loop import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.simulation.amqp.loop import AmqpLoop
    from tests.simulation.nodes import Node

__all__ = ["Address", "Link", "Socket"]

_FULL, _ROOM = 8192, 2048
"""At how many bytes under way a socket is full, and at how many it has room again."""


class Address:
    """A connected socket, before a protocol uses it."""

    def getpeername(self) -> tuple[str, int]:
        return "127.0.0.1", 5672

    def fileno(self) -> int:
        return -1

    def close(self) -> None:
        """Nothing was opened."""


class _Pipe:
    """Bytes of one direction.

    Attributes:
        left: how many bytes arrive until the connection is cut; ``None``: it is not.
        size: how many bytes are under way.
    """

    def __init__(self, link: Link, arrived: Callable[[bytes], object], over: Callable[[], object]) -> None:
        self._link, self._arrived, self._over = link, arrived, over
        self.lane = Lane()
        self.left: int | None = None
        self.size = 0
        self._kept, self._lost = b"", False

    def send(self, data: bytes, context: Any) -> None:
        """Send bytes, in up to three pieces."""
        loop, choose = self._link.loop, self._link.loop.world.decisions.choose
        self.size += len(data)
        cuts = (0, 0, 0, 1, 2)[choose(5)] if len(data) > 1 else 0
        places = sorted(1 + choose(len(data) - 1) for _ in range(cuts))
        for start, end in zip((0, *places), (*places, len(data)), strict=True):
            if start < end:
                loop.deliver(self.lane, context, self._arrive, data[start:end])

    def end(self, context: Any) -> None:
        """Let the other side know, after all bytes, that nothing more comes."""
        self._link.loop.deliver(self.lane, context, self._over)

    def _arrive(self, data: bytes) -> None:
        link, self.size = self._link, self.size - len(data)
        if self._lost:
            return
        if self.left is not None:
            data, self.left = data[: self.left], self.left - len(data)
        data, self._kept = self._kept + data, b""
        more = len(self.lane.messages) > 0 and self.left is None
        if more and link.loop.world.decisions.choose(4) == 3:
            self._kept = data  # it is read together with what comes next
        elif data:
            self._arrived(data)
        if self.left is not None and self.left <= 0:
            self.left = None
            self.drop()  # what comes after a part of a message is lost, too
            link.cut()

    def drop(self, keep: int = 0) -> None:
        """Lose what is under way, but for the first messages: without any, also what arrives in this turn."""
        while len(self.lane.messages) > keep:
            self.lane.messages.pop()
        if not keep:
            self._kept, self._lost = b"", True


class Link:
    """One connection of a process.

    Attributes:
        node: the process.
        lost_at: when the process has lost it, in seconds.
        silences: when nothing arrived any more in one direction, in seconds.
        server: the broker's side.
        socket: the side of the process.
    """

    def __init__(self, loop: AmqpLoop, node: Node, protocol: Any) -> None:
        """Connect ``node`` to the broker."""
        self.loop, self.node = loop, node
        self.lost_at: list[float] = []
        self.silences: list[float] = []
        self.outside = loop.world.amqp.context
        self.server = BrokerConnection(loop.world.amqp.model, self._to_client, self._hang_up, self.cut)
        self.socket = Socket(self, protocol)
        self._in = _Pipe(self, self.socket.arrived, self.socket.ended)
        self._out = _Pipe(self, self._to_server, self.server.lost)
        self._gone = False
        node.transports.append(self)

    @property
    def open(self) -> bool:
        """Whether both sides use it."""
        return not self.server.over and not self.socket.is_closing()

    @property
    def silent(self) -> bool:
        """Whether the broker hears nothing."""
        return self._out.lane.held

    def note_lost(self) -> None:
        """Called when the process knows that it is lost."""
        if not self.loop.world.closing and (not self.lost_at or self.lost_at[-1] < self.loop.time()):
            self.lost_at.append(self.loop.time())

    # What the two sides send.

    def write(self, data: bytes) -> None:
        """Send bytes to the broker."""
        if self._gone:
            return
        self._out.send(data, self.outside)
        if self._out.size > _FULL:
            self.socket.full()

    def _to_server(self, data: bytes) -> None:
        self.server.feed(data)
        if self._out.size < _ROOM:
            self.loop.call_soon(self.socket.has_room, context=self.node.context)

    def _to_client(self, data: bytes) -> None:
        if not self._gone:
            self._in.send(data, self.node.context)

    def _hang_up(self) -> None:
        if self.node.broker and not self.loop.world.closing:
            self.lost_at.append(self.loop.time())  # the broker gives its requests to other workers from now on
        self._in.end(self.node.context)

    # How it ends.

    def closed(self, *, flush: bool) -> None:
        """Called when the process has closed it: the broker reads all of what was sent, or a part."""
        self._in.drop()
        if not flush:
            self._out.drop(self.loop.world.decisions.choose(len(self._out.lane.messages) + 1))
        self._out.end(self.outside)

    def cut(self) -> None:
        """Lose it, with what is under way: the broker reads a part of it, and the process, too."""
        choose, self._gone = self.loop.world.decisions.choose, True  # what is sent from now on is lost
        for pipe in (self._in, self._out):
            pipe.drop(choose(len(pipe.lane.messages) + 1))
            pipe.left = None
            pipe.lane.held = False
        self._in.end(self.node.context)
        self._out.end(self.outside)

    def cut_after(self, count: int, *, inbound: bool) -> None:
        """Cut it when so many more bytes have arrived at one side."""
        (self._in if inbound else self._out).left = count

    def hold(self, *, inbound: bool, outbound: bool) -> None:
        """Let nothing arrive in these directions, until they are held no longer."""
        if inbound or outbound:
            self.silences.append(self.loop.time())
        self._in.lane.held, self._out.lane.held = inbound, outbound

    def calm(self) -> None:
        """Let all faults of it be over."""
        self.hear_again()
        self._in.left = self._out.left = None

    def hear_again(self) -> None:
        """Let everything arrive that was under way."""
        self.hold(inbound=False, outbound=False)

    def channel_closed(self) -> None:
        """Called when the broker closes a channel, or deletes a queue of the process."""
        self.lost_at.append(self.loop.time())

    def vanish(self) -> None:
        """Called when the process has died: the broker reads a part of what was sent."""
        if not self.socket.is_closing():
            self.socket.dead()
            self.closed(flush=False)


class Socket(asyncio.Transport):
    """The side of the process, as asyncio has it."""

    def __init__(self, link: Link, protocol: Any) -> None:
        """Connect ``protocol``."""
        super().__init__({"peername": ("127.0.0.1", 5672)})
        self._link, self._protocol = link, protocol
        self._closing = self._eof = self._lost = self._paused = self._full = False
        self._unread: list[bytes] = []

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def write(self, data: Any) -> None:
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not self._closing and data:
            self._link.write(bytes(data))

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._eof = True

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        unread, self._unread = self._unread, []
        for data in unread:
            self._link.loop.call_soon(self.arrived, data)

    def close(self) -> None:
        self._end(flush=True)

    def abort(self) -> None:
        self._end(flush=False)

    def _end(self, *, flush: bool) -> None:
        if not self._closing:
            self._closing = True
            self._link.note_lost()
            self._link.closed(flush=flush)
            self._link.loop.call_soon(self._tell_lost, None)

    def dead(self) -> None:
        """Called when its process is dead."""
        self._closing = self._lost = True

    def full(self) -> None:
        """Called when too many bytes are under way."""
        if not self._full and not self._closing:
            self._full = True
            self._protocol.pause_writing()

    def has_room(self) -> None:
        """Called when few bytes are under way."""
        if self._full and not self._lost:
            self._full = False
            self._protocol.resume_writing()

    def arrived(self, data: bytes) -> None:
        """Called with bytes of the broker."""
        if self._paused:
            self._unread.append(data)
        elif not self._closing:
            self._protocol.data_received(data)
            if self._protocol.error is not None:
                self._link.note_lost()

    def ended(self) -> None:
        """Called when nothing more comes: the broker has closed the connection, or it is cut."""
        if self._closing:
            return
        self._link.note_lost()
        if self._link.loop.world.decisions.choose(2):
            self._closing = True
            self._tell_lost(ConnectionResetError(104, "Connection reset by peer"))
        elif not self._protocol.eof_received():
            self.close()

    def _tell_lost(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = True
            self._protocol.connection_lost(error)
