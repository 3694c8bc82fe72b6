"""Fast channel: sends and receives the frames of the call path on one channel, bypassing aiormq.

aiormq opens and closes the channel, and declares, binds and consumes on it. aiormq must never publish on it: the fast
channel counts the delivery tags of its publishes to match publisher confirms.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

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
    publish_method,
)
from rabibridge._amqp.properties import Properties, parse_properties
from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    from rabibridge._amqp.frames import Frames
    from rabibridge._connection.multiplexer import Multiplexer

__all__ = ["FastChannel"]

_LARGE = 32 * 1024
"""Body parts of at least this many bytes are kept as views of the received data until the body is complete."""
_METHODS_CACHED = 4096
_TAG_AND_FLAG = struct.Struct(">QB")


class FastChannel:
    """Receives the messages, confirms and returns of one channel, and writes to it until it is closed.

    Subclasses override :meth:`delivered`, :meth:`confirmed`, :meth:`returned`, :meth:`closed`, :meth:`cancelled` and
    :meth:`flow_changed` to handle what arrives.
    """

    def __init__(self, multiplexer: Multiplexer, channel: int, max_payload: int, max_body: int) -> None:
        """Register for the frames of a channel.

        Args:
            multiplexer: the connection.
            channel: channel number.
            max_payload: maximum payload of one frame, in bytes.
            max_body: maximum body size in bytes. One byte more is kept of a longer body, so that the receiver can tell
                that it is too large.
        """
        self.open = True
        self.close_code = 0
        """Reply code with which the broker closed the channel, 0 if it did not."""
        self.number = channel
        self.max_payload = max_payload
        self._multiplexer = multiplexer
        self._max_kept = max_body + 1
        self._method = b""  # of the message whose content is being received: DELIVER, RETURN or none
        self._tag = 0
        self._redelivered = False
        self._reason = (0, "", b"")
        self._properties: Properties | None = None
        self._parts: list[bytes | memoryview] = []
        self._missing = 0
        self._kept = 0
        self._deliver = b"\0"  # start of the last basic.deliver frame: head, method and consumer tag
        self._deliver_size = 0
        self._publish_methods: dict[str | bytes, bytes] = {}
        multiplexer.channels[channel] = self

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
        tag, redelivered = _TAG_AND_FLAG.unpack_from(data, start + self._deliver_size)
        if redelivered & 1:  # it may be republished, which takes the raw properties
            return 0
        properties = parse_common_properties(flags, data, header + 21, header_end)
        if properties is None:
            return 0
        self.delivered(tag, False, properties, data[body:body_end])
        return body_end + 1

    def _remember_deliver(self, data: bytes, start: int, end: int) -> None:
        if data[start + 7 : start + 11] == DELIVER and start + 12 + data[start + 11] + 9 <= end:
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
            if not self._missing and not self._parts and size < self._max_kept:
                self._complete(data[start:end])
            else:
                self._collect(memoryview(data)[start:end] if size >= _LARGE else data[start:end])
        else:
            return False
        return True

    def _handle_method(self, data: bytes, start: int, end: int) -> bool:
        method = data[start : start + 4]
        if self._method:
            raise FrameError(f"received a method frame within a message on channel {self.number}")
        if method == DELIVER:
            self._tag, self._redelivered = parse_deliver(data, start, end)
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
                self.close_code, text = parse_reason(data, start, end)
                self.detach()
                self._close(ConnectionLostError(f"the broker closed channel {self.number}: {self.close_code} {text}"))
            elif method == CANCEL and self.open:
                self.cancelled()
            return False
        return True

    def _collect(self, part: bytes | memoryview) -> None:
        if self._kept < self._max_kept:
            self._parts.append(part[: self._max_kept - self._kept])
            self._kept += len(self._parts[-1])
        if not self._missing:
            body = b"".join(self._parts)
            self._parts.clear()
            self._kept = 0
            self._complete(body)

    def _complete(self, body: bytes) -> None:
        properties, method = self._properties, self._method
        assert properties is not None
        self._properties, self._method = None, b""
        if not self.open:
            return
        if method == DELIVER:
            self.delivered(self._tag, self._redelivered, properties, body)
        else:
            self.returned(*self._reason, properties)

    def _add_publish_method(
        self, cache_key: str | bytes, exchange: bytes, routing_key: bytes, *, mandatory: bool
    ) -> bytes:
        """Encode a ``basic.publish`` method and cache it in ``_publish_methods``."""
        if len(self._publish_methods) >= _METHODS_CACHED:
            self._publish_methods.clear()
        method = publish_method(self.number, exchange, routing_key, mandatory=mandatory)
        self._publish_methods[cache_key] = method
        return method

    def write(self, frames: Frames) -> None:
        """Send complete frames of this channel; they are dropped if it is closed."""
        if self.open:
            self._multiplexer.write(frames)

    def flush(self) -> None:
        """Send the buffered frames now, before aiormq writes something."""
        self._multiplexer.flush()

    def mark_closing(self) -> None:
        """Send nothing more and discard what arrives: we are about to close the channel."""
        self.open = False

    def detach(self) -> None:
        """Unregister, which leaves all frames to aiormq: the channel is closed."""
        if self._multiplexer.channels.get(self.number) is self:
            del self._multiplexer.channels[self.number]

    def connection_lost(self, error: ConnectionLostError) -> None:
        """Called when the connection is lost."""
        self._close(error)

    def _close(self, error: ConnectionLostError) -> None:
        # Nothing may be written once the broker has closed the channel: it would close the connection for that.
        if self.open:
            self.open = False
            self.closed(error)

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        """Called when a message is complete."""
        raise NotImplementedError

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        """Called when the broker confirms a publish (``accepted``) or refuses it."""
        raise NotImplementedError

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        """Called when the broker returns a mandatory message because no queue is bound for its routing key."""
        raise NotImplementedError

    def closed(self, error: ConnectionLostError) -> None:
        """Called when the broker closes the channel or the connection is lost."""
        raise NotImplementedError

    def cancelled(self) -> None:
        """Called when the broker cancels the consumer because its queue was deleted."""
        raise NotImplementedError

    def flow_changed(self) -> None:
        """Called when publishing is paused or resumed."""
