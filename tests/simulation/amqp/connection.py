"""One connection of the simulated broker: its bytes, its log-in, its channels and its heartbeats."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pamqp.frame
from pamqp import commands as spec

from tests.simulation.amqp.broker import Refused
from tests.simulation.amqp.channel import BrokerChannel

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.amqp.broker import Broker
    from tests.simulation.amqp.messages import Message

__all__ = ["BrokerConnection"]

_HEAD = struct.Struct(">BHI")
_METHOD, _HEADER, _BODY, _HEARTBEAT = 1, 2, 3, 8
_HELLO = b"AMQP\x00\x00\x09\x01"
_BEAT = b"\x08\x00\x00\x00\x00\x00\x00\xce"
_CLOSE_OK = 10.0
"""How long a client may take to answer ``connection.close``, in seconds."""
_PROPERTIES: Any = {
    "product": "RabbitMQ", "version": "4.1.0",
    "capabilities": {
        "publisher_confirms": True, "exchange_exchange_bindings": True, "basic.nack": True,
        "consumer_cancel_notify": True, "connection.blocked": True, "per_consumer_qos": True,
        "direct_reply_to": True,
    },
}  # fmt: skip


class BrokerConnection:
    """What the broker knows of a client.

    Attributes:
        name: the name that the client has given.
        channels: the open channels.
        over: whether it has ended.
    """

    def __init__(
        self,
        broker: Broker,
        write: Callable[[bytes], object],
        hang_up: Callable[[], object],
        reset: Callable[[], object],
    ) -> None:
        """Begin.

        Args:
            broker: the broker.
            write: sends bytes to the client.
            hang_up: closes the socket, once the bytes have left.
            reset: cuts the connection.
        """
        self.broker, self._write, self._hang_up, self._cut = broker, write, hang_up, reset
        self.name = ""
        self.channels: dict[int, BrokerChannel] = {}
        self.over = self.closing = self._blocked = self._greeted = False
        self._buffer = b""
        self._frame_max = (131072, 4096)[broker.host.choose(2)]
        self._heard_at = self._sent_at = broker.host.time()
        self._beat: Any = None
        broker.connections.append(self)

    def feed(self, data: bytes) -> None:
        """Take bytes of the client."""
        self._heard_at = self.broker.host.time()
        self._buffer += data
        while not self.over and not self._blocked and self._take_one():
            pass

    def _take_one(self) -> bool:
        if not self._greeted:
            if len(self._buffer) < len(_HELLO):
                return False
            assert self._buffer.startswith(_HELLO)
            self._buffer, self._greeted = self._buffer[len(_HELLO) :], True
            self.send_method(0, spec.Connection.Start(0, 9, _PROPERTIES, "PLAIN", "en_US"))
            return True
        if len(self._buffer) < _HEAD.size:
            return False
        kind, number, size = _HEAD.unpack_from(self._buffer)
        end = _HEAD.size + size + 1
        if len(self._buffer) < end:
            return False
        frame, self._buffer = self._buffer[:end], self._buffer[end:]
        if frame[-1] != 0xCE or size + 8 > self._frame_max:
            self._break(501, f"FRAME_ERROR - type {kind}, {size} bytes, end {frame[-1]}")
            return True
        self._frame(kind, number, frame)
        return True

    def _frame(self, kind: int, number: int, frame: bytes) -> None:
        payload = frame[_HEAD.size : -1]
        if number == 0:
            if kind == _METHOD:
                self._own_method(pamqp.frame.unmarshal(frame)[2])
            return
        channel, method = self.channels.get(number), pamqp.frame.unmarshal(frame)[2] if kind == _METHOD else None
        if self.closing:
            return
        if isinstance(method, spec.Channel.Open) and channel is None:
            self.channels[number] = BrokerChannel(self, number)
            self.send_method(number, spec.Channel.OpenOk())
        elif channel is None:
            self._break(504, f"CHANNEL_ERROR - expected 'channel.open', got {method or kind} on channel {number}")
        elif isinstance(method, spec.Channel.CloseOk if channel.closing else spec.Channel.Close):
            del self.channels[number]
            if not channel.closing:
                channel.release()
                self.send_method(number, spec.Channel.CloseOk())
        elif channel.closing:
            if isinstance(method, spec.Channel.Close):
                self.send_method(number, spec.Channel.CloseOk())
        else:
            self._in_channel(channel, kind, method, payload)

    def _in_channel(self, channel: BrokerChannel, kind: int, method: Any, payload: bytes) -> None:
        try:
            if kind == _METHOD:
                channel.method(method)
            elif kind == _HEADER:
                channel.content_header(payload)
            else:
                channel.content_body(payload)
        except Refused as refused:
            channel.close(refused.code, refused.text)
        if self.broker.alarm and kind == _HEADER and not self._blocked:
            self._blocked = True
            self.send_method(0, spec.Connection.Blocked(self.broker.alarm))

    def alarm_changed(self) -> None:
        """Called when the broker takes no messages any longer, or takes them again."""
        if self._blocked and not self.broker.alarm:
            self._blocked, self._heard_at = False, self.broker.host.time()
            self.send_method(0, spec.Connection.Unblocked())
            self.feed(b"")

    def _own_method(self, method: Any) -> None:
        if isinstance(method, spec.Connection.CloseOk):
            self._finish()
        elif isinstance(method, spec.Connection.Close):
            self.send_method(0, spec.Connection.CloseOk())
            self._finish()
        elif self.closing:
            return
        elif isinstance(method, spec.Connection.StartOk):
            self.name = str((method.client_properties or {}).get("connection_name", ""))
            self.send_method(0, spec.Connection.Tune(2047, self._frame_max, 60))
        elif isinstance(method, spec.Connection.TuneOk):
            if method.heartbeat:
                self._keep_alive(method.heartbeat)
        elif isinstance(method, spec.Connection.Open):
            self.send_method(0, spec.Connection.OpenOk())

    def _keep_alive(self, seconds: float) -> None:
        now = self.broker.host.time()
        if now - self._heard_at > 2 * seconds and not self._blocked:
            self._finish()
            return
        if now - self._sent_at >= seconds / 2 - 0.01:
            self._send(_BEAT)
        self._beat = self.broker.host.later(seconds / 2, lambda: self._keep_alive(seconds))

    def _send(self, data: bytes) -> None:
        if not self.over:
            self._sent_at = self.broker.host.time()
            self._write(data)

    def send_method(self, number: int, method: Any) -> None:
        """Send a method on a channel."""
        if not self.closing or number == 0:
            self._send(pamqp.frame.marshal(method, number))

    def send_message(self, number: int, method: Any, message: Message) -> None:
        """Send a method and the message that belongs to it."""
        if self.closing:
            return
        parts = [(_HEADER, message.header)]
        most = self._frame_max - 8
        parts += [(_BODY, message.body[start : start + most]) for start in range(0, len(message.body), most)]
        frames = [_HEAD.pack(kind, number, len(part)) + part + b"\xce" for kind, part in parts]
        self._send(pamqp.frame.marshal(method, number) + b"".join(frames))

    def _break(self, code: int, text: str) -> None:
        self.broker.host.broken(text)
        self.close(code, text)

    def close(self, code: int, text: str) -> None:
        """Close it, as RabbitMQ does for a frame that makes no sense, or by order of an operator."""
        self._release()
        self.send_method(0, spec.Connection.Close(code, text, 0, 0))
        self.closing = True
        self.broker.host.later(_CLOSE_OK, self._finish)

    def _release(self) -> None:
        channels, self.channels = self.channels, {}
        for channel in channels.values():
            channel.release()

    def _finish(self) -> None:
        self.lost()
        self._hang_up()

    def reset(self) -> None:
        """End it without a word."""
        self.lost()
        self._cut()

    def lost(self) -> None:
        """Called when the socket is closed."""
        if self.over:
            return
        self.over = True
        if self._beat is not None:
            self._beat.cancel()
        self._release()
        self.broker.ended(self)
