"""Shares the socket of a connection between aiormq and the fast channels.

aiormq reads and writes through the stream reader and writer that its transport factory creates. Ours creates them on
top of :class:`Multiplexer`, which splits incoming bytes into frames: frames of the call path go to the fast
channel that they belong to, all other bytes go to aiormq unchanged. Everything that is written in one turn of the event
loop leaves in one send.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, suppress
from os import dup2
from socket import SHUT_RDWR, socket
from typing import TYPE_CHECKING, cast

from rabibridge._amqp.frames import HEARTBEAT, FrameError, FrameParser
from rabibridge._amqp.methods import CONNECTION_BLOCKED, CONNECTION_CLOSE, CONNECTION_UNBLOCKED, parse_reason
from rabibridge_core._concurrency.forks import call_after_fork
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from rabibridge._amqp.frames import FrameHandler, Frames

    class ChannelHandler(FrameHandler, Protocol):
        """What a multiplexer calls on the fast channels that are registered with it."""

        def connection_lost(self, error: ConnectionLostError) -> None:
            """Called when nothing can be received or sent any longer."""
            ...

        def flow_changed(self) -> None:
            """Called when :attr:`Multiplexer.paused` may have changed."""
            ...


__all__ = ["Multiplexer"]

_log = get_logger(__name__)
_FLUSH_AT = 256 * 1024
"""Writes of one loop turn are buffered up to this many bytes, so that large amounts reach the socket's own limits."""
_TLS_ALERT = b"\x15\x03"
"""The first bytes of an alert of TLS (RFC 8446, section 5.1)."""
_FIRST_FRAME_MAX = 128 * 1024
"""Maximum frame size before both sides have negotiated one, in bytes."""

_SHUT_TIMEOUT = 1.0
"""How long aiormq may take to close the socket, in seconds."""


class Multiplexer(asyncio.StreamReaderProtocol):
    """Reads and writes the bytes of one connection."""

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        """Forward all frames that no fast channel takes to ``reader``."""
        super().__init__(reader, loop=loop)
        self.channels: dict[int, ChannelHandler] = {}
        """The registered fast channels, by channel number."""
        self.blocked: str | None = None
        """Why the broker currently accepts no messages (resource alarm), ``None`` if it does."""
        self.error: ConnectionLostError | None = None
        """Why the connection is lost, ``None`` while it is open."""
        self._event_loop, self.last_received = loop, loop.time()
        self.on_lost: Callable[[ConnectionLostError], None] | None = None
        """Called once when the connection is lost."""
        self.close_code = 0
        """Reply code with which the broker closed the connection, 0 if it did not."""
        self.close_text = ""
        """Reply text with which the broker closed the connection."""
        self.met_tls = False
        """Whether the first bytes of a connection without TLS were a message of TLS."""
        self._flow_changed = asyncio.Event()
        self.forked = False
        """Whether this is the copy of a connection in a forked process."""
        self._parser = FrameParser(self.channels, self._forward, _FIRST_FRAME_MAX)
        self._buffer: list[bytes | memoryview] = []
        self._buffer_size, self._in_pieces = 0, False
        self._at_flush: list[Callable[[], bytes]] = []
        self._flush_scheduled = self._socket_full = False
        self._forwarded_at = self._blocked_at = self._blocked_before = 0.0
        self.started = False
        """Whether the broker has sent anything."""
        self._socket: asyncio.Transport
        self._plain: socket

    @property
    def paused(self) -> bool:
        """Whether callers should stop publishing: the socket is full or the broker blocks the connection."""
        return self._socket_full or self.blocked is not None

    @property
    def blocked_for(self) -> float:
        """For how many seconds of this connection the broker has accepted no messages."""
        return self._blocked_before + (self._event_loop.time() - self._blocked_at if self.blocked is not None else 0.0)

    @property
    def why_paused(self) -> str:
        """Why publishing is paused, as a clause for an error message; empty if it is not."""
        if self.blocked is not None:
            return f"the broker accepts no messages now: {self.blocked}"
        return "the socket to the broker is full: the broker reads too slowly" if self._socket_full else ""

    async def flow_changed(self) -> None:
        """Wait until :attr:`paused` may have changed, or the connection is lost."""
        await self._flow_changed.wait()

    def set_frame_max(self, frame_max: int) -> None:
        """Set the negotiated maximum frame size in bytes; 0 means no limit."""
        self._parser.max_payload = max(frame_max - 8, 0) or 2**32

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the socket."""
        self._socket = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    @property
    def peer(self) -> tuple[str, int] | None:
        """The address at the other end of the socket, and its port; ``None``: it has none."""
        name = self._socket.get_extra_info("peername")
        return (name[0], name[1]) if isinstance(name, tuple) else None

    def hold(self, plain: socket) -> None:
        """Release ``plain``, the socket below, in forked children, and if the event loop ends without closing it."""
        self._plain = plain
        call_after_fork(self)

    def after_fork(self) -> None:
        """Called in a forked child: give up the socket, which would stay open for as long as the child lives.

        A fresh socket takes its number: the child may still close the number, or be told that it is readable, and must
        not meet another file there, nor change what the parent's event loop watches.
        """
        self.forked = True
        self._detach(ConnectionLostError("the connection is that of the process that this one was forked from"))
        if self._plain.fileno() >= 0:
            with socket() as fresh:
                dup2(fresh.fileno(), self._plain.fileno(), inheritable=False)

    def abandon(self) -> None:
        """Close the connection without the event loop, which is closed."""
        if self.error is None:
            self._detach(ConnectionLostError("the event loop of the connection is closed"))
            with suppress(OSError):  # it is closed already
                self._plain.shutdown(SHUT_RDWR)

    def _detach(self, error: ConnectionLostError) -> None:
        self.error = self.error or error
        self.on_lost = None
        self.channels.clear()

    def data_received(self, data: bytes) -> None:
        """Split into frames and dispatch them to the fast channels and aiormq."""
        now = self.last_received = self._event_loop.time()
        if not self.started:
            self.started = True
            if data.startswith(_TLS_ALERT):
                self.met_tls = True
            if data.startswith(b"AMQP"):  # the broker speaks another protocol version, which aiormq reports
                self._parser.max_payload = 2**32
                self._forward(data)
                return
        try:
            taken = self._parser.feed(data)
        except FrameError as error:
            self.abort(ConnectionLostError(f"the broker sent bytes that are not AMQP: {error}"))
            return
        # RabbitMQ sends no heartbeats while it sends messages, and aiormq declares a connection dead on which it sees
        # nothing.
        if taken and now - self._forwarded_at > 1:
            self._forward(HEARTBEAT)

    def _forward(self, frame: bytes) -> None:
        self._forwarded_at = self.last_received
        if frame[:3] == b"\x01\x00\x00":
            method = frame[7:11]
            if method == CONNECTION_BLOCKED:
                self._blocked_before, self._blocked_at = self.blocked_for, self._event_loop.time()
                self.blocked = frame[12 : 12 + frame[11]].decode("utf-8", "replace")
                self._notify_flow()
            elif method == CONNECTION_UNBLOCKED:
                self._blocked_before, self.blocked = self.blocked_for, None
                self._notify_flow()
            elif method == CONNECTION_CLOSE:
                code, text = parse_reason(frame, 7, len(frame) - 1)
                self.close_code, self.close_text = code, text
                self._fail(ConnectionLostError(f"the broker closed the connection: {code} {text}"))
        super().data_received(frame)

    def write(self, frames: Frames) -> None:
        """Send complete frames, together with everything else that is written in this turn of the loop."""
        if not self._flush_scheduled:
            self._schedule_flush()
        if isinstance(frames, list):
            self._buffer += frames
            self._buffer_size += sum(map(len, frames))
            self._in_pieces = True
        else:
            self._buffer.append(frames)
            self._buffer_size += len(frames)
        if self._buffer_size >= _FLUSH_AT:
            self.flush()

    def write_at_flush(self, frames: Callable[[], bytes]) -> None:
        """Call ``frames`` at the next flush and send the frames that it returns after all buffered ones."""
        if not self._flush_scheduled:
            self._schedule_flush()
        self._at_flush.append(frames)

    def _schedule_flush(self) -> None:
        self._flush_scheduled = True
        self._event_loop.call_soon(self._run_flush)

    def _run_flush(self) -> None:
        self._flush_scheduled = False
        self.flush()

    def flush(self) -> None:
        """Send all buffered frames now."""
        if self._at_flush:
            at_flush, self._at_flush = self._at_flush, []
            self._buffer += [frames() for frames in at_flush]
        if self._buffer:
            buffer, self._buffer = self._buffer, []
            pieces, self._in_pieces = self._in_pieces or self._buffer_size >= _FLUSH_AT, False
            self._buffer_size = 0
            if self.error is None:
                try:
                    if pieces:
                        self._socket.writelines(buffer)  # some event loops send these without copying
                    else:
                        self._socket.write(buffer[0] if len(buffer) == 1 else b"".join(buffer))
                except RuntimeError as error:  # aiormq has closed the socket for something that it has read
                    self.abort(ConnectionLostError(f"the connection to the broker is lost: {error}"))

    def pause_writing(self) -> None:
        """Pause publishing: the write buffer of the socket is full."""
        super().pause_writing()
        self._socket_full = True
        self._notify_flow()

    def resume_writing(self) -> None:
        """Resume publishing."""
        super().resume_writing()
        self._socket_full = False
        self._notify_flow()

    def abort(self, error: ConnectionLostError) -> None:
        """Close the socket at once; ``error`` is the reason that all channels get."""
        self._fail(error)
        self._socket.abort()

    def shut(self, error: ConnectionLostError) -> None:
        """Lose the connection like :meth:`abort`, but let aiormq close the socket: all of its tasks may be ending."""
        self._fail(error)
        self._event_loop.call_later(_SHUT_TIMEOUT, self._socket.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the fast channels and aiormq that the socket is closed."""
        error = ConnectionLostError(f"the connection to the broker is lost: {exc or 'closed by the other side'}")
        error.__cause__ = exc
        self._fail(error)
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:
        """Notify the fast channels at once that nothing more will arrive."""
        self._fail(ConnectionLostError("the connection to the broker is lost: closed by the other side"))
        return super().eof_received()

    async def _drain_helper(self) -> None:
        # aiormq drains what it writes while it is cancelled. On a connection that is lost this would raise in a task
        # that nobody waits for, and asyncio.run() would log that; the loss is reported by on_lost.
        if self.error is None:
            await super()._drain_helper()  # type: ignore[misc]

    def _fail(self, error: ConnectionLostError) -> None:
        if self.error is None:
            self.error = error
            self._buffer.clear()
            self._at_flush.clear()
            self._wake_waiters()
            if self.on_lost is not None:
                self.on_lost(error)
            channels = list(self.channels.values())
            self.channels.clear()
            with ExitStack() as stack:  # every channel is notified, even if one of them raises
                for channel in channels:
                    stack.callback(channel.connection_lost, error)

    def _notify_flow(self) -> None:
        self._wake_waiters()
        for channel in list(self.channels.values()):
            channel.flow_changed()

    def _wake_waiters(self) -> None:
        changed, self._flow_changed = self._flow_changed, asyncio.Event()
        changed.set()
