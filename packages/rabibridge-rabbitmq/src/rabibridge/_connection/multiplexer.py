"""The socket of a connection, shared by aiormq and the lanes.

aiormq reads and writes through the stream reader and writer that its transport factory makes. This factory makes them
over :class:`Multiplexer`, which cuts what arrives into frames: those of the call path go to the fast channel that they
belong to, every other byte goes to aiormq unchanged. What is written in one turn of the event loop leaves in one send.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

from aiormq.connection import TransportFactory

from rabibridge._amqp.frames import (
    CONNECTION_BLOCKED,
    CONNECTION_CLOSE,
    CONNECTION_UNBLOCKED,
    HEARTBEAT,
    FrameError,
    FrameParser,
    return_reason,
)
from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable
    from ssl import SSLContext
    from typing import Protocol

    from yarl import URL

    from rabibridge._amqp.frames import FrameHandler, Frames

    class FastChannel(FrameHandler, Protocol):
        """What a tap tells the lanes on it."""

        def socket_lost(self, error: ConnectionLostError) -> None:
            """Nothing arrives or leaves any more."""
            ...

        def flow_changed(self) -> None:
            """The tap's ``paused`` has changed."""
            ...


__all__ = ["Multiplexer", "TapFactory"]

_log = logging.getLogger(__name__)
_FLUSH_AT = 256 * 1024
"""What lanes write in one turn is held back up to this many bytes, so that a flood meets the socket's limits."""
_FIRST_FRAME_MAX = 128 * 1024
"""The largest frame before the two sides have agreed on one, in bytes."""


class Multiplexer(asyncio.StreamReaderProtocol):
    """Reads and writes the bytes of one connection."""

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        """Pass on to ``reader`` what no lane takes."""
        super().__init__(reader, loop=loop)
        self.lanes: dict[int, FastChannel] = {}
        self.blocked: str | None = None
        """Why the broker takes no messages now (an alarm), ``None`` if it does."""
        self.error: ConnectionLostError | None = None
        """Why nothing arrives any more."""
        self.last_received = loop.time()
        self.on_lost: Callable[[ConnectionLostError], None] | None = None
        """Told once why nothing arrives any more."""
        self.close_code = 0
        """The code with which the broker closed the connection, 0 if it did not."""
        self.refusal = ""
        """The text that came with it."""
        self._event_loop = loop
        self._cutter = FrameParser(self.lanes, self._pass_on, _FIRST_FRAME_MAX)
        self._out: list[bytes | memoryview] = []
        self._out_size = 0
        self._behind: list[Callable[[], bytes]] = []
        self._flush_due = False
        self._socket_full = False
        self._passed_on = 0.0
        self._started = False
        self._socket: asyncio.Transport

    @property
    def paused(self) -> bool:
        """Whether messages should be held back: the socket is full or the broker blocks the connection."""
        return self._socket_full or self.blocked is not None

    @property
    def why_paused(self) -> str:
        """Why messages should be held back, as a clause."""
        if self.blocked is not None:
            return f"the broker takes no messages now: {self.blocked}"
        return "the socket to the broker is full, it takes what was sent too slowly" if self._socket_full else ""

    def agree(self, frame_max: int) -> None:
        """Know the size of the largest frame that both sides allow, in bytes."""
        self._cutter.max_payload = max(frame_max - 8, 0) or 2**32

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the socket."""
        self._socket = cast("asyncio.Transport", transport)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Cut into frames and give each to whom it belongs."""
        now = self.last_received = self._event_loop.time()
        if not self._started:
            self._started = True
            if data.startswith(b"AMQP"):  # the broker speaks another version: aiormq says so
                self._cutter.max_payload = 2**32
                self._pass_on(data)
                return
        try:
            taken = self._cutter.feed(data)
        except FrameError as error:
            self.abort(ConnectionLostError(f"the broker sent what is not AMQP: {error}"))
            return
        # aiormq takes a connection for dead on which it sees nothing, and RabbitMQ sends no heartbeats beside messages.
        if taken and now - self._passed_on > 1:
            self._pass_on(HEARTBEAT)

    def _pass_on(self, frame: bytes) -> None:
        self._passed_on = self.last_received
        if frame[:3] == b"\x01\x00\x00":
            method = frame[7:11]
            if method == CONNECTION_BLOCKED:
                self.blocked = frame[12 : 12 + frame[11]].decode("utf-8", "replace")
                self._tell_flow()
            elif method == CONNECTION_UNBLOCKED:
                self.blocked = None
                self._tell_flow()
            elif method == CONNECTION_CLOSE:
                code, text = return_reason(frame, 7, len(frame) - 1)
                self.close_code, self.refusal = code, text
                self._lose(ConnectionLostError(f"the broker closed the connection: {code} {text}"))
        super().data_received(frame)

    def write(self, frames: Frames) -> None:
        """Send whole frames, together with whatever else this turn of the loop writes."""
        if not self._flush_due:
            self._flush_soon()
        if isinstance(frames, list):
            self._out += frames
            self._out_size += sum(map(len, frames))
        else:
            self._out.append(frames)
            self._out_size += len(frames)
        if self._out_size >= _FLUSH_AT:
            self.flush()

    def write_behind(self, frames: Callable[[], bytes]) -> None:
        """Ask for frames when what is written now is sent, once; they stand behind all of it."""
        if not self._flush_due:
            self._flush_soon()
        self._behind.append(frames)

    def _flush_soon(self) -> None:
        self._flush_due = True
        self._event_loop.call_soon(self._flush_now)

    def _flush_now(self) -> None:
        self._flush_due = False
        self.flush()

    def flush(self) -> None:
        """Send now what was written."""
        if self._behind:
            behind, self._behind = self._behind, []
            self._out += [frames() for frames in behind]
        if self._out:
            out, self._out = self._out, []
            large, self._out_size = self._out_size >= _FLUSH_AT, 0
            if self.error is None:
                if large:
                    self._socket.writelines(out)  # the event loop may know how to send them without a copy
                else:
                    self._socket.write(out[0] if len(out) == 1 else b"".join(out))

    def pause_writing(self) -> None:
        """Hold messages back: the socket does not take more."""
        super().pause_writing()
        self._socket_full = True
        self._tell_flow()

    def resume_writing(self) -> None:
        """Let messages flow again."""
        super().resume_writing()
        self._socket_full = False
        self._tell_flow()

    def abort(self, error: ConnectionLostError) -> None:
        """Cut the connection at once, for this reason."""
        self._lose(error)
        self._socket.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the lanes and aiormq."""
        error = ConnectionLostError(f"the connection to the broker is gone: {exc or 'closed by the other side'}")
        error.__cause__ = exc
        self._lose(error)
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:
        """Tell the lanes at once: nothing more arrives."""
        self._lose(ConnectionLostError("the connection to the broker is gone: closed by the other side"))
        return super().eof_received()

    def _lose(self, error: ConnectionLostError) -> None:
        if self.error is None:
            self.error = error
            self._out.clear()
            self._behind.clear()
            lanes = list(self.lanes.values())
            self.lanes.clear()
            if self.on_lost is not None:
                self.on_lost(error)
            with ExitStack() as telling:  # all are told, even if one of them raises
                for lane in lanes:
                    telling.callback(lane.socket_lost, error)

    def _tell_flow(self) -> None:
        for lane in list(self.lanes.values()):
            lane.flow_changed()


class TapFactory(TransportFactory):
    """Hands a :class:`Multiplexer` that is connected already to aiormq."""

    def __init__(self, tap: Multiplexer, reader: asyncio.StreamReader, socket: asyncio.Transport) -> None:
        """Hand out this one."""
        self.tap = tap
        self._reader = reader
        self._socket = socket

    @classmethod
    async def dial(cls, host: str, port: int, ssl: SSLContext | None) -> TapFactory:
        """Connect by TCP, with TLS if there is an SSL context.

        Raises:
            OSError: it cannot be reached, or its certificate is not accepted.
        """
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        tap = Multiplexer(reader, loop)
        socket, _ = await loop.create_connection(lambda: tap, host, port, ssl=ssl)
        return cls(tap, reader, socket)

    async def create(self, url: URL, **kwargs: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return the reader and writer over the tap; aiormq calls this instead of connecting."""
        return self._reader, asyncio.StreamWriter(self._socket, self.tap, self._reader, asyncio.get_running_loop())
