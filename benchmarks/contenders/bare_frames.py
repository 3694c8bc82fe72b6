"""What a call costs in Python at the least: frames made and read at known places, on the event loop and nothing else.

It sends what the client and the server in C send, and reads no more of what comes than it must: it is right for the
one service of the comparison, and for nothing else.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

import msgpack  # type: ignore[import-untyped]  # it ships no types
from pamqp import commands, frame, header

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.contenders.base import Caller, Service, Side

_BODY_FRAME, _END = b"\x03\x00\x01", b"\xce"
_DELIVER, _ACK = b"\x00\x3c\x00\x3c", b"\x00\x3c\x00\x50"
_ID = "%08d"
_CONTENT_TYPE = "application/msgpack"
_PROPERTIES = 14  # where the properties begin in the payload of a header frame


def _sized(payload: bytes) -> bytes:
    return len(payload).to_bytes(4, "big") + payload + _END


def _framed(channel: int, method: Any) -> bytes:
    return frame.marshal(method, channel)


class _Setup:
    """A connection whose answers are waited for, until the event loop takes its socket."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname or "localhost", parts.port or 5672))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = b""
        self.socket.sendall(b"AMQP\x00\x00\x09\x01")
        self._read()
        login = f"\0{unquote(parts.username or 'guest')}\0{unquote(parts.password or 'guest')}"
        self.socket.sendall(_framed(0, commands.Connection.StartOk({}, "PLAIN", login, "en_US")))
        tune = self._read()
        self.socket.sendall(_framed(0, commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0)))
        self.ask(commands.Connection.Open(unquote(parts.path[1:]) or "/"), channel=0)
        self.ask(commands.Channel.Open())

    def ask(self, method: Any, *, channel: int = 1) -> Any:
        self.socket.sendall(_framed(channel, method))
        return self._read()

    def _read(self) -> Any:
        while True:
            if len(self._unread) >= 8:
                size, _, method = frame.unmarshal(self._unread)
                if size:
                    self._unread = self._unread[size:]
                    return method
            received = self.socket.recv(65536)
            if not received:
                raise ConnectionError("the broker has closed the connection")
            self._unread += received


class _Frames(asyncio.Protocol):
    """Takes what comes apart into messages."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._unread = b""
        self._deliver = self._properties = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if self._unread:
            data = self._unread + data
        at, size = 0, len(data)
        while size - at >= 8:
            end = at + 8 + int.from_bytes(data[at + 3 : at + 7], "big")
            if end > size:
                break
            kind, at = data[at], at + 7
            if kind == 1:
                method = data[at : at + 4]
                if method == _DELIVER:
                    self._deliver = data[at : end - 1]
                elif method != _ACK:
                    raise RuntimeError(f"a frame that was not expected: {data[at:end]!r}")
            elif kind == 2:
                self._properties = data[at : end - 1]
            else:
                self.message(data[at : end - 1])
            at = end
        self._unread = data[at:]

    def message(self, body: bytes) -> None:
        raise NotImplementedError


class _Server(_Frames):
    def __init__(self, service: Service) -> None:
        super().__init__()
        self._function = service.function

    def message(self, body: bytes) -> None:
        running = self._function(msgpack.unpackb(body))
        try:
            running.send(None)
        except StopIteration as done:
            result = cast("bytes", msgpack.packb(done.value))
        else:
            raise RuntimeError("the function must not wait")
        at = 5 + self._deliver[4]
        tag = self._deliver[at : at + 8]
        properties = self._properties
        at = _PROPERTIES + 1 + properties[_PROPERTIES] + 1  # the content type, and the delivery mode
        correlation_id = properties[at : at + 1 + properties[at]]
        at += len(correlation_id)
        reply_to = properties[at : at + 1 + properties[at]]
        content_type = bytes((len(_CONTENT_TYPE),)) + _CONTENT_TYPE.encode()
        self.transport.write(
            b"\x01\x00\x01"
            + _sized(b"\x00\x3c\x00\x28\x00\x00\x00" + reply_to + b"\x01")
            + b"\x02\x00\x01"
            + _sized(b"\x00\x3c\x00\x00" + len(result).to_bytes(8, "big") + b"\x84\x00" + content_type + correlation_id)
            + _BODY_FRAME
            + _sized(result)
            + b"\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x50"
            + tag
            + b"\x00\xce"
        )

    def left(self) -> dict[str, int]:
        return {}


class _Client(_Frames):
    def __init__(self, queue: str, reply_to: str) -> None:
        super().__init__()
        self._numbers = itertools.count()
        self._futures: dict[bytes, asyncio.Future[bytes]] = {}
        self._method = _framed(1, commands.Basic.Publish(routing_key=queue, mandatory=True))
        self._loop = asyncio.get_running_loop()
        properties = commands.Basic.Properties(
            content_type=_CONTENT_TYPE, delivery_mode=1, correlation_id=_ID % 0, reply_to=reply_to, expiration="10000"
        )
        known = frame.marshal(header.ContentHeader(0, 0, properties), 1)
        self._before, self._after = known.split((_ID % 0).encode())

    async def call(self, x: Any) -> Any:
        correlation_id = (_ID % next(self._numbers)).encode()
        future = self._futures[correlation_id] = self._loop.create_future()
        body = cast("bytes", msgpack.packb(x))
        before = self._before[:11] + len(body).to_bytes(8, "big") + self._before[19:]
        self.transport.write(self._method + before + correlation_id + self._after + _BODY_FRAME + _sized(body))
        return msgpack.unpackb(await future)

    def message(self, body: bytes) -> None:
        at = _PROPERTIES + 2 + self._properties[_PROPERTIES]
        self._futures.pop(self._properties[at : at + 8]).set_result(body)

    def left(self) -> dict[str, int]:
        return {"futures": len(self._futures)}


@asynccontextmanager
async def serve(url: str, service: Service) -> AsyncIterator[Side]:
    setup = _Setup(url)
    limits: Any = {"x-max-length": service.queue_size, "x-overflow": "reject-publish"}
    setup.ask(commands.Queue.Declare(queue=service.name, durable=True, arguments=limits))
    setup.ask(commands.Basic.Qos(prefetch_count=service.fetch_size))
    setup.ask(commands.Basic.Consume(queue=service.name))
    transport, server = await asyncio.get_running_loop().create_connection(lambda: _Server(service), sock=setup.socket)
    yield server
    transport.abort()


@asynccontextmanager
async def caller(url: str, service: Service) -> AsyncIterator[Caller]:
    setup = _Setup(url)
    setup.ask(commands.Confirm.Select())
    replies = setup.ask(commands.Queue.Declare(exclusive=True, auto_delete=True)).queue
    setup.ask(commands.Basic.Consume(queue=replies, no_ack=True))
    transport, client = await asyncio.get_running_loop().create_connection(
        lambda: _Client(service.name, replies), sock=setup.socket
    )
    yield client
    transport.abort()
