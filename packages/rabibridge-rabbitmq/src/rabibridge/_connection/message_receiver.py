"""Turns the frames of one channel into callbacks: deliveries, publisher confirms, returned messages and closes.

It knows no socket: bytes in, callbacks out. ``FastChannel`` adds the socket.
"""

from __future__ import annotations

import struct
from io import BytesIO

from rabibridge._amqp.fast_path import parse_common_properties
from rabibridge._amqp.frames import BODY, CONTENT_HEADER, END, HEADER, METHOD, NEXT_FRAME, FrameError
from rabibridge._amqp.methods import (
    ACK,
    CANCEL,
    CHANNEL_CLOSE,
    DELIVER,
    NACK,
    RETURN,
    parse_deliver,
    parse_reason,
    parse_returned_key,
)
from rabibridge._amqp.properties import Properties, parse_properties

__all__ = ["MessageReceiver"]

_DELIVERY = struct.Struct(">QBB")
"""Delivery tag, redelivered flag, and the length of the name of the exchange, which is 0 for the default exchange."""


class MessageReceiver:
    """Receives the messages, confirms and returns of one channel, and reports them to the methods of a subclass.

    Attributes:
        via_default_exchange: during :meth:`delivered`, whether the message came through the default exchange, and not
            through the one that callers may write to. Only known if ``tells_exchanges`` is set.
    """

    tells_exchanges = False
    """Whether the subclass reads :attr:`via_default_exchange`."""

    def __init__(self, channel: int, max_body: int) -> None:
        """Receive the frames of a channel.

        Args:
            channel: channel number.
            max_body: maximum body size in bytes. One byte more is kept of a longer body, so that the receiver can tell
                that it is too large.
        """
        self.open = True
        self.number = channel
        self.via_default_exchange = False
        # The shortest name of an exchange of which messages are received in one step.
        self._shortest_exchange = 1 if self.tells_exchanges else 0
        self._max_kept = max_body + 1
        self._method = b""  # of the message whose content is being received: DELIVER, RETURN or none
        self._tag = 0
        self._redelivered = False
        self._reason = (0, "", b"")
        self._properties: Properties | None = None
        self._parts = BytesIO()  # of a body that comes in several frames: its value is not copied once more
        self._missing = 0
        self._kept = 0
        self._deliver = b"\0"  # start of the last basic.deliver frame: head, method and consumer tag
        self._deliver_size = 0

    def handle_message(self, data: bytes, start: int, end: int, size: int) -> int:
        """Handle a first delivery that has one body frame and common properties and is complete in ``data``.

        It does the same as three calls of :meth:`handle_frame` in a third of the time. All other messages, and
        therefore all errors, are left to :meth:`handle_frame`.
        """
        if not data.startswith(self._deliver, start):
            self._remember_deliver(data, start, end)
            return 0
        header = end + 1
        if header + 21 > size or self._method or not self.open:
            return 0
        kind, channel, length, _, _, body_size, flags = CONTENT_HEADER.unpack_from(data, header)
        header_end: int = header + 7 + length
        body = header_end + 8
        body_end: int = body + body_size
        number = self.number
        if kind != HEADER or channel != number or not 0 < body_size < self._max_kept or body_end >= size or length < 14:
            return 0
        end_octet, kind, channel, length = NEXT_FRAME.unpack_from(data, header_end)
        if end_octet != END or kind != BODY or channel != number or length != body_size or data[body_end] != END:
            return 0
        tag, redelivered, exchange = _DELIVERY.unpack_from(data, start + self._deliver_size)
        # A redelivered message may be republished, which takes the raw properties.
        if redelivered & 1 or exchange < self._shortest_exchange:
            return 0
        properties = parse_common_properties(flags, data, header + 21, header_end)
        if properties is None:
            return 0
        self.delivered(tag, False, properties, data[body:body_end])
        return body_end + 1

    def _remember_deliver(self, data: bytes, start: int, end: int) -> None:
        if data[start + 7 : start + 11] == DELIVER and start + 12 + data[start + 11] + 10 <= end:
            self._deliver = data[start : start + 12 + data[start + 11]]
            self._deliver_size = len(self._deliver)

    def handle_frame(self, kind: int, data: bytes, start: int, end: int) -> bool:
        """Handle a frame of the call path; return ``False`` for frames that aiormq must handle."""
        if kind == METHOD:
            return self._handle_method(data, start, end)
        if not self._method:
            raise FrameError(f"received a content frame without a method frame on channel {self.number}")
        if kind == HEADER:
            if self._properties is not None:
                raise FrameError(f"received two content headers for one message on channel {self.number}")
            self._missing = int.from_bytes(data[start + 4 : start + 12], "big")
            self._properties = parse_properties(data, start + 12, end)
            if self._redelivered:  # it may be republished
                self._properties = self._properties._replace(raw=data[start + 12 : end])
            if not self._missing:
                self._complete(b"")
        elif kind == BODY:
            size = end - start
            if self._properties is None or size > self._missing:
                raise FrameError(f"received more body than the content header announced on channel {self.number}")
            self._missing -= size
            if not self._missing and not self._kept and size < self._max_kept:
                self._complete(data[start:end])
            else:
                self._collect(memoryview(data)[start:end])
        else:
            return False
        return True

    def _handle_method(self, data: bytes, start: int, end: int) -> bool:
        method = data[start : start + 4]
        if self._method:
            raise FrameError(f"received a method frame within a message on channel {self.number}")
        if method == DELIVER:
            self._tag, self._redelivered, self.via_default_exchange = parse_deliver(data, start, end)
            self._method = DELIVER
        elif method in (ACK, NACK):
            if end - start != 13:
                raise FrameError("a publisher confirm has the wrong length")
            tag = int.from_bytes(data[start + 4 : start + 12], "big")
            if self.open:
                self.confirmed(tag, multiple=data[start + 12] & 1 == 1, accepted=method == ACK)
        elif method == RETURN:
            self._reason = (*parse_reason(data, start, end), parse_returned_key(data, start, end))
            self._method = RETURN
        else:
            if method == CHANNEL_CLOSE:
                self.closed_by_broker(*parse_reason(data, start, end))
            elif method == CANCEL and self.open:
                self.cancelled()
            return self.handle_other(method, data, start, end)
        return True

    def _collect(self, part: memoryview) -> None:
        if self._kept < self._max_kept:
            self._kept += self._parts.write(part[: self._max_kept - self._kept])
        if not self._missing:
            parts, self._parts, self._kept = self._parts, BytesIO(), 0
            self._complete(parts.getvalue())

    def _complete(self, body: bytes) -> None:
        properties, method = self._properties, self._method
        assert properties is not None
        self._properties, self._method = None, b""
        if not self.open:
            return
        if method == DELIVER:
            self.delivered(self._tag, self._redelivered, properties, body)
            self.via_default_exchange = False
        else:
            self.returned(*self._reason, properties)

    def handle_other(self, method: bytes, data: bytes, start: int, end: int) -> bool:
        """Handle a method that is not one of the call path; return ``False`` if aiormq must handle it."""
        return False

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        """Called when a message is complete."""
        raise NotImplementedError

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        """Called when the broker confirms a publish (``accepted``) or refuses it."""
        raise NotImplementedError

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        """Called when the broker returns a mandatory message because no queue is bound for its routing key."""
        raise NotImplementedError

    def closed_by_broker(self, code: int, text: str) -> None:
        """Called when the broker closes the channel; whoever has opened it sends the answer."""
        raise NotImplementedError

    def cancelled(self) -> None:
        """Called when the broker cancels the consumer because its queue was deleted."""
        raise NotImplementedError
