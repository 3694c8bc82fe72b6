"""A peer that speaks just enough AMQP to be taken for a broker, and misbehaves as it is told."""

from __future__ import annotations

import asyncio
import struct
from typing import TYPE_CHECKING, Any, Self

import pamqp.frame
from pamqp import commands as spec
from pamqp import header as amqp_header

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

_PROPERTIES: Any = {"capabilities": {"publisher_confirms": True, "basic.nack": True, "consumer_cancel_notify": True}}
_ANSWERS: dict[type, Callable[[Any], Any]] = {
    spec.Connection.StartOk: lambda _: spec.Connection.Tune(2047, 131072, 60),
    spec.Connection.Open: lambda _: spec.Connection.OpenOk(),
    spec.Connection.Close: lambda _: spec.Connection.CloseOk(),
    spec.Channel.Open: lambda _: spec.Channel.OpenOk(),
    spec.Channel.Close: lambda _: spec.Channel.CloseOk(),
    spec.Confirm.Select: lambda _: spec.Confirm.SelectOk(),
    spec.Exchange.Declare: lambda _: spec.Exchange.DeclareOk(),
    spec.Queue.Declare: lambda asked: spec.Queue.DeclareOk(asked.queue or "amq.gen-1", 0, 0),
    spec.Exchange.Bind: lambda _: spec.Exchange.BindOk(),
    spec.Queue.Bind: lambda _: spec.Queue.BindOk(),
    spec.Queue.Delete: lambda _: spec.Queue.DeleteOk(0),
    spec.Basic.Qos: lambda _: spec.Basic.QosOk(),
    spec.Basic.Consume: lambda asked: spec.Basic.ConsumeOk(asked.consumer_tag),
    spec.Basic.Cancel: lambda asked: spec.Basic.CancelOk(asked.consumer_tag),
}

STUCK = object()
"""What a script returns for an operation that does not end."""


class PeerConnection:
    """One client of the peer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.heard: list[tuple[int, Any]] = []
        """Channel and frame of all that the client sent."""
        self.closing = set[int]()
        """Channels that were closed by the peer: as a broker does, it ignores what else arrives on them."""
        self.stuck = set[int]()
        """Channels on which the peer still carries out an operation: as a broker does, it comes to no other."""

    def send(self, channel: int, *answers: Any) -> None:
        """Send methods, or bytes as they are."""
        for answer in answers:
            self.writer.write(answer if isinstance(answer, bytes) else pamqp.frame.marshal(answer, channel))

    def deliver(self, channel: int, tag: int, body: bytes, method: Any = None, **properties: Any) -> None:
        """Send a message of one body frame; it belongs to ``method``, which is a delivery unless given."""
        header = amqp_header.ContentHeader(0, len(body), spec.Basic.Properties(**properties))
        self.send(channel, method or spec.Basic.Deliver("ctag", tag, False, "", ""), header)
        self.writer.write(struct.pack(">BHI", 3, channel, len(body)) + body + b"\xce")

    async def frames(self) -> AsyncIterator[tuple[int, Any]]:
        """Iterate over what the client sends."""
        await self._reader.readexactly(8)
        self.send(0, spec.Connection.Start(0, 9, _PROPERTIES, "PLAIN", "en_US"))
        while True:
            head = await self._reader.readexactly(7)
            rest = await self._reader.readexactly(struct.unpack(">BHI", head)[2] + 1)
            _, channel, frame = pamqp.frame.unmarshal(head + rest)
            self.heard.append((channel, frame))
            yield channel, frame


def methods_of(connection: PeerConnection, *kinds: type) -> list[Any]:
    """Return the methods of these kinds that the client sent."""
    return [frame for _, frame in connection.heard if isinstance(frame, kinds)]


class Peer:
    """Listens on the loopback interface and answers each client as RabbitMQ would, but for its ``script``.

    The script is asked first, with the connection, the channel and the frame: what it returns is sent instead of the
    usual answer; ``None`` leaves it at that one, ``()`` at silence, and :data:`STUCK` has no effect but that nothing
    else is carried out on that channel.
    """

    def __init__(self, script: Callable[[PeerConnection, int, Any], Any] = lambda *_: None) -> None:
        self.script = script
        self.connections: list[PeerConnection] = []
        self._server: asyncio.Server
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self._server.sockets[0].getsockname()[1]}/"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        connection = PeerConnection(reader, writer)
        self.connections.append(connection)
        try:
            async for channel, frame in connection.frames():
                if isinstance(frame, spec.Channel.CloseOk):
                    connection.closing.discard(channel)
                if channel in connection.closing or channel in connection.stuck:
                    continue
                answers = self.script(connection, channel, frame)
                if answers is STUCK:
                    connection.stuck.add(channel)
                    continue
                if answers is None:
                    usual = None if getattr(frame, "nowait", False) else _ANSWERS.get(type(frame))
                    answers = () if usual is None else (usual(frame),)
                connection.send(channel, *answers)
                if any(isinstance(answer, spec.Channel.Close) for answer in answers):
                    connection.closing.add(channel)
                await writer.drain()
                if isinstance(frame, spec.Connection.Close | spec.Connection.CloseOk):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone
        finally:
            writer.close()
            self._tasks.discard(task)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for connection in self.connections:
            connection.writer.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks)
