"""What RabbitMQ itself takes for the start of a worker: all frames are encoded before, and written in one piece.

The operations are those of a :class:`rabibridge.RMQServer`, on as many channels, without anything that waits for the
answers, looks at them or handles errors. No client can start so many services faster on this broker.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

import pamqp.frame
from pamqp import commands

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["RawWorker"]

_CHANNELS = 16
_ARGUMENTS: Any = {"x-overflow": "reject-publish", "x-queue-type": "classic"}
_CLOSES = ("Channel.Close", "Connection.Close")


class RawWorker:
    """One connection, prepared to start async services of these names, each with two routing keys."""

    def __init__(self, url: str, names: Sequence[str]) -> None:
        """Log in, declare the exchanges, and encode all frames."""
        address = urlparse(url)
        self._socket = socket.create_connection((address.hostname or "", address.port or 5672))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._services = len(names)
        self._socket.sendall(b"AMQP\0\0\x09\x01")
        self._answer()
        login = f"\0{unquote(address.username or '')}\0{unquote(address.password or '')}"
        self._send(0, commands.Connection.StartOk({}, "PLAIN", login))
        tune = self._answer()
        self._send(0, commands.Connection.TuneOk(tune.channel_max, tune.frame_max, 0))
        self._send(0, commands.Connection.Open(unquote(address.path[1:]) or "/"))
        self._answer()
        for number in range(_CHANNELS):
            self._send(1 + number, commands.Channel.Open())
            self._answer()
        self._declare_exchanges()
        self._send(1, commands.Queue.Declare(queue="", exclusive=True))
        cancel_queue = self._answer().queue
        self._declarations = b"".join(
            _encoded(1 + number % _CHANNELS, _declaration(name)) for number, name in enumerate(names)
        )
        self._consumers = b"".join(
            _encoded(1 + number % _CHANNELS, _cancel_bindings(name, cancel_queue))
            + _encoded(1 + _CHANNELS + number, _consumer(name))
            for number, name in enumerate(names)
        )

    def _declare_exchanges(self) -> None:
        others: Any = {"alternate-exchange": "rpc_any_sync"}
        for name, arguments in (("rpc", None), ("rpc_any_sync", None), ("rpc_any", others)):
            self._send(1, commands.Exchange.Declare(exchange=name, durable=True, arguments=arguments))
            self._answer()

    def start(self) -> None:
        """Declare the queues; then, as a server does, bind for cancellations and consume."""
        self._socket.sendall(self._declarations)
        self._await("Queue.DeleteOk")
        self._socket.sendall(self._consumers)
        self._await("Basic.ConsumeOk")

    def close(self) -> None:
        """Close the connection."""
        self._send(0, commands.Connection.Close(200, "", 0, 0))
        while self._answer().name != "Connection.CloseOk":
            pass
        self._socket.close()

    def _send(self, channel: int, method: Any) -> None:
        self._socket.sendall(pamqp.frame.marshal(method, channel))

    def _await(self, name: str) -> None:
        left = self._services
        while left:
            left -= self._answer().name == name

    def _answer(self) -> Any:
        while True:
            if len(self._received) >= 7:
                end = struct.unpack_from(">I", self._received, 3)[0] + 8
                if len(self._received) >= end:
                    _, _, frame = pamqp.frame.unmarshal(bytes(self._received[:end]))
                    del self._received[:end]
                    assert frame.name not in _CLOSES, frame
                    return frame
            data = self._socket.recv(2**20)
            assert data, "the broker has closed the connection"
            self._received += data


def _encoded(channel: int, methods: Sequence[Any]) -> bytes:
    return b"".join(pamqp.frame.marshal(method, channel) for method in methods)


def _declaration(name: str) -> list[Any]:
    queue, key = f"rpc_async_{name}", f"any:{name}"
    return [
        commands.Queue.Declare(queue=queue, durable=True, arguments=_ARGUMENTS, nowait=True),
        commands.Exchange.Bind(destination="rpc_any", source="rpc", routing_key=key, nowait=True),
        commands.Queue.Bind(queue=queue, exchange="rpc_any", routing_key=key, nowait=True),
        commands.Queue.Bind(queue=queue, exchange="rpc", routing_key=f"async_{name}"),
        commands.Queue.Delete(queue=f"rpc_sync_{name}", if_unused=True, if_empty=True),
    ]


def _cancel_bindings(name: str, queue: str) -> list[Any]:
    keys = f"cancel:async_{name}", f"cancel:any:{name}"
    return [commands.Queue.Bind(queue=queue, exchange="rpc", routing_key=key, nowait=True) for key in keys]


def _consumer(name: str) -> list[Any]:
    return [
        commands.Channel.Open(),
        commands.Basic.Qos(prefetch_count=1),
        commands.Basic.Consume(queue=f"rpc_async_{name}", consumer_tag="rpc"),
    ]
