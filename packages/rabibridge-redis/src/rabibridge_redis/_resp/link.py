"""One connection that speaks RESP3: commands are pipelined, and answers are passed on in the same turn of the loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import hiredis

from rabibridge_core._concurrency.forks import call_after_fork
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConnectionLostError

__all__ = ["Answer", "Link", "ReplyError", "resolve"]

ReplyError: TypeAlias = hiredis.ReplyError
Answer: TypeAlias = Callable[[Any, Any], None]
"""Called with the argument that was given to :meth:`Link.send`, and the answer; an error is a ReplyError."""

_log = get_logger(__name__)
_NOTHING = object()
_CLOSING_TIME = 1.0
"""How long the server has to close a connection with TLS as well, in seconds."""
_pack: Callable[[tuple[str | bytes | int, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]  # its stubs allow one argument


class Link(asyncio.Protocol):
    """A connection to a Redis server.

    Commands are written at the end of the turn of the event loop in which they were sent, all in one piece.

    Attributes:
        error: why it is closed; ``None`` while it is open.
        paused: whether the server reads more slowly than we write.
        has_heard: whether anything has arrived since this was last set to ``False``.
        silent: how often in a row nothing had.
        sent: how many commands were sent.
    """

    def __init__(self, on_lost: Callable[[ConnectionLostError], None], on_push: Callable[[list[Any]], None]) -> None:
        """Report the loss of the connection to ``on_lost``, and messages of channels to ``on_push``."""
        self.error: ConnectionLostError | None = None
        self.paused = False
        self.forked = False
        self.has_heard = True
        self.silent = self.sent = 0
        self._on_lost, self._on_push = on_lost, on_push
        self._reader = hiredis.Reader(notEnoughData=_NOTHING, replyError=hiredis.ReplyError)
        self._answers: deque[tuple[Answer | None, Any]] = deque()
        self._outgoing: list[bytes] = []
        self._before: list[Callable[[], None]] = []
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._drained: list[Callable[[], None]] = []
        self._writing = False
        self._closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio when the connection is open."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass of it
        self._socket = transport.get_extra_info("socket")
        call_after_fork(self)

    def send(self, answer: Answer | None, context: Any, *command: str | bytes | int) -> None:
        """Send a command; ``answer(context, ...)`` is called with what comes back. ``None``: nobody wants to know.

        On a closed connection, nothing is sent, and ``answer`` is not called: ``on_lost`` was.
        """
        if self.error is not None:
            return
        self.sent += 1
        self._answers.append((answer, context))
        self._outgoing.append(_pack(command))
        if not self._writing:
            self._writing = True
            self._loop.call_soon(self.flush)

    def before_write(self, call: Callable[[], None]) -> None:
        """Call ``call()`` when what was sent in this turn is about to be written: what it sends is written with it."""
        if self.error is None:
            self._before.append(call)
            if not self._writing:
                self._writing = True
                self._loop.call_soon(self.flush)

    async def subscribe(self, *channels: str) -> None:
        """Receive what is published to these channels; return once that is so.

        Raises:
            ConnectionLostError: the connection is lost.
        """
        self._write(_pack(("SUBSCRIBE", *channels)))
        await self.ask("PING")

    def unsubscribe(self, *channels: str) -> None:
        """Receive it no longer."""
        self._write(_pack(("UNSUBSCRIBE", *channels)))

    async def ask(self, *command: str | bytes | int) -> Any:
        """Send a command and return the answer.

        Raises:
            ReplyError: the server refuses.
            ConnectionLostError: the connection is lost.
        """
        if self.error is not None:
            raise ConnectionLostError(str(self.error), executed=False)
        future: asyncio.Future[Any] = self._loop.create_future()
        self.send(resolve, future, *command)
        return await future

    def _write(self, data: bytes) -> None:
        if self.error is None:
            self._outgoing.append(data)
            if not self._writing:
                self._writing = True
                self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write what was sent in this turn."""
        self._writing = True
        while self._before:
            before, self._before = self._before, []
            for call in before:
                call()
        self._writing = False
        outgoing, self._outgoing = self._outgoing, []
        if self._transport is not None and self.error is None and not self.forked:
            self._transport.writelines(outgoing)

    def data_received(self, data: bytes) -> None:
        """Called by asyncio with what has arrived."""
        self.has_heard = True
        reader, answers = self._reader, self._answers
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _NOTHING:
                if type(reply) is hiredis.PushNotification:
                    self._on_push(reply)
                    continue
                answer, context = answers.popleft()
                if answer is not None:
                    answer(context, reply)
                elif isinstance(reply, hiredis.ReplyError):
                    _log.warning("the server refuses a command: %s", reply, extra=log_fields("broker.refused"))
        except hiredis.ProtocolError as error:
            self.close(ConnectionLostError(f"the server does not speak RESP3: {error}"))

    def pause_writing(self) -> None:
        """Called by asyncio when the server reads too slowly."""
        self.paused = True

    def resume_writing(self) -> None:
        """Called by asyncio when it has caught up."""
        self.paused = False
        drained, self._drained = self._drained, []
        for call in drained:
            call()

    async def drained(self) -> None:
        """Wait until :attr:`paused` is over, or the connection is closed."""
        done = asyncio.Event()
        self._drained.append(done.set)
        await done.wait()

    def eof_received(self) -> bool:
        """Called by asyncio when the server has closed the connection."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by asyncio when the connection is closed."""
        why = f"the connection to the broker is lost: {exc or 'the server has closed it'}"
        error = ConnectionLostError(why)
        error.__cause__ = exc
        self._closed.set()
        self.close(error)

    def close(self, error: ConnectionLostError) -> None:
        """Close it, at once; without effect if it is closed."""
        if self.error is not None:
            return
        self.error = error
        if self._transport is not None:
            self._transport.abort()
        answers, self._answers = self._answers, deque()
        for answer, context in answers:
            if answer is resolve and not context.done():
                lost = ConnectionLostError(str(error))
                lost.__cause__ = error.__cause__
                context.set_exception(lost)
        self.resume_writing()
        self._on_lost(error)

    async def close_gracefully(self) -> None:
        """Write what is left, close, and wait until it is closed. With TLS, the server has a second to answer."""
        if self._transport is None or self.error is not None:
            return
        self.flush()
        self.error = ConnectionLostError("the connection is closed")
        self._transport.close()
        try:
            async with asyncio.timeout(_CLOSING_TIME):
                await self._closed.wait()
        except TimeoutError:
            pass  # it is closed without the answer
        finally:
            self._transport.abort()

    def drop(self) -> None:
        """Close it, at once, without telling anybody."""
        self.error = self.error or ConnectionLostError("the connection is closed")
        if self._transport is not None:
            self._transport.abort()

    def abandon(self) -> None:
        """Close it without an event loop, which is closed, and without telling anybody."""
        if self.error is None:
            self.error = ConnectionLostError("the event loop of the connection is closed")
            if self._socket is not None:
                with contextlib.suppress(OSError):  # it is closed already
                    self._socket.shutdown(socket.SHUT_RDWR)

    def after_fork(self) -> None:
        """Called in a forked child: give up the socket, which would stay open for as long as the child lives.

        A fresh socket takes its number: the child may still close the number, and must not meet another file there.
        """
        self.forked = True
        self.error = self.error or ConnectionLostError(
            "the connection is that of the process that this one forked from"
        )
        if self._socket is not None and self._socket.fileno() >= 0:
            with socket.socket() as fresh:
                os.dup2(fresh.fileno(), self._socket.fileno(), inheritable=False)


def resolve(future: asyncio.Future[Any], reply: Any) -> None:
    """End a future with an answer, or with the error that it is; without effect if it has ended."""
    if future.done():
        return
    if isinstance(reply, hiredis.ReplyError):
        future.set_exception(reply)
    else:
        future.set_result(reply)
