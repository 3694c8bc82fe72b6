"""A fast channel that records what it receives, and the frames that a broker sends it, encoded by pamqp."""

from __future__ import annotations

import itertools
import struct
from typing import TYPE_CHECKING, Any

import pamqp.frame
from pamqp import body as amqp_body
from pamqp import commands as spec
from pamqp import header as amqp_header

from rabibridge._connection.fast_channel import FastChannel

if TYPE_CHECKING:
    from rabibridge._amqp.properties import Properties
    from rabibridge._connection.multiplexer import Multiplexer
    from rabibridge_core.errors import ConnectionLostError

MAX_PAYLOAD = 100
MAX_BODY = 250


class RecordedChannel(FastChannel):
    """Records every callback."""

    def __init__(self, multiplexer: Multiplexer, channel: int, max_body: int = MAX_BODY) -> None:
        super().__init__(multiplexer, channel, MAX_PAYLOAD, max_body)
        self.received: list[Any] = []
        self.flow: list[bool] = []

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        self.received.append(("delivered", tag, redelivered, properties.correlation_id, body))

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        self.received.append(("confirmed", tag, multiple, accepted))

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        self.received.append(("returned", code, text, key, properties.correlation_id))

    def closed(self, error: ConnectionLostError) -> None:
        self.received.append(("closed", str(error)))

    def cancelled(self) -> None:
        self.received.append(("cancelled",))

    def flow_changed(self) -> None:
        self.flow.append(self._multiplexer.paused)


def method_frame(channel: int, method: Any) -> bytes:
    return pamqp.frame.marshal(method, channel)


def raw_frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def header_frame(channel: int, size: int, **properties: Any) -> bytes:
    return pamqp.frame.marshal(amqp_header.ContentHeader(0, size, spec.Basic.Properties(**properties)), channel)


def body_frame(channel: int, part: bytes) -> bytes:
    return pamqp.frame.marshal(amqp_body.ContentBody(part), channel)


def content_frames(channel: int, body: bytes, **properties: Any) -> bytes:
    parts = [body_frame(channel, body[at : at + MAX_PAYLOAD]) for at in range(0, len(body), MAX_PAYLOAD)]
    return header_frame(channel, len(body), **properties) + b"".join(parts)


def deliver_frames(channel: int, tag: int, body: bytes, *, redelivered: bool = False, **properties: Any) -> bytes:
    deliver = spec.Basic.Deliver("ctag1.abc", tag, redelivered, "rpc", "async_name")
    return method_frame(channel, deliver) + content_frames(channel, body, **properties)


def return_frames(channel: int, body: bytes, **properties: Any) -> bytes:
    return method_frame(channel, spec.Basic.Return(312, "NO_ROUTE", "rpc", "nowhere")) + content_frames(
        channel, body, **properties
    )


CLOSE = spec.Channel.Close(406, "PRECONDITION_FAILED", 60, 80)


def receive(multiplexer: Multiplexer, data: bytes, sizes: list[int]) -> None:
    position = 0
    for size in itertools.cycle(sizes):
        if position >= len(data):
            return
        multiplexer.data_received(data[position : position + size])
        position += size
