"""The connection of a child process to its worker, and the log records that go through it."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

from rabibridge_core._observability.call_log import call_fields
from rabibridge_core._reporting.json_log import added_fields
from rabibridge_core._server.child_frames import HEADER_SIZE, pack, unpack, unpack_sizes

if TYPE_CHECKING:
    import socket

__all__ = ["ChildChannel", "LogForwarder"]


class ChildChannel:
    """Reads and writes frames. Writing blocks, and may be done from any thread."""

    def __init__(self, connection: socket.socket) -> None:
        """Use the socket that was inherited."""
        connection.setblocking(True)
        connection.set_inheritable(False)
        self._connection = connection
        self._lock = threading.RLock()
        self.open = True

    def send(self, fields: dict[str, Any], body: bytes = b"") -> None:
        """Send one frame.

        Raises:
            OSError: the worker is gone.
        """
        head = pack(fields, len(body))
        with self._lock:
            if len(body) <= HEADER_SIZE * 1024:
                self._connection.sendall(head + body)
            else:
                self._connection.sendall(head)
                self._connection.sendall(body)

    def receive(self) -> tuple[dict[str, Any], bytes] | None:
        """Return the next frame; ``None``: there is none, as the worker wants nothing more or is gone."""
        header = self._exactly(HEADER_SIZE)
        if header is None:
            return None
        fields_size, body_size = unpack_sizes(header)
        payload = self._exactly(fields_size + body_size)
        return None if payload is None else unpack(payload, fields_size)

    def _exactly(self, size: int) -> memoryview | None:
        view = memoryview(bytearray(size))
        filled = 0
        while filled < size:
            try:
                received = self._connection.recv_into(view[filled:])
            except ConnectionResetError:
                return None
            if not received:
                return None
            filled += received
        return view

    async def next(self) -> tuple[dict[str, Any], bytes] | None:
        """Return the next frame as :meth:`receive` does; the event loop runs until its first byte is there."""
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(self._connection, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._connection)
        return self.receive()

    def forget(self) -> None:
        """Called in a process that was forked from this one: it must not write to the worker, nor keep this open."""
        self.open = False
        self._lock = threading.RLock()
        self._connection.close()


class LogForwarder(logging.Handler):
    """Gives log records to the worker, whose handlers write them; without it, to stderr."""

    def __init__(self, channel: ChildChannel) -> None:
        """Send through ``channel``."""
        super().__init__()
        self._channel = channel
        self._formatter = logging.Formatter()

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record, before anything else can happen to this process."""
        if not self._channel.open:
            self._to_stderr(record)
            return
        try:
            error = record.exc_text
            if error is None and record.exc_info:
                error = self._formatter.formatException(record.exc_info)
            if record.stack_info:
                error = f"{error}\n{record.stack_info}" if error else record.stack_info
            fields = {
                "kind": "log", "name": record.name, "level": record.levelno, "text": record.getMessage(),
                "path": record.pathname, "line": record.lineno, "function": record.funcName or "",
                "created": record.created, "thread": record.threadName or "", "error": error,
                "added": call_fields() | added_fields(record),
            }  # fmt: skip
            self._channel.send(fields)
        except OSError:
            self._to_stderr(record)  # the worker is gone
        except Exception:  # noqa: BLE001 - as every handler of the logging package does
            self.handleError(record)

    @staticmethod
    def _to_stderr(record: logging.LogRecord) -> None:
        if logging.lastResort is not None and record.levelno >= logging.lastResort.level:
            logging.lastResort.handle(record)
