"""A lane: the frames of the call path on one channel, past aiormq.

aiormq opens and closes the channel and declares, binds and consumes on it. It must never publish on it: the delivery
tags of the confirms are the lane's to count.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from rabibridge._amqp.fast_path import CONTENT_HEADER, NEXT_FRAME, parse_common_properties
from rabibridge._amqp.frames import (
    ACK,
    BODY,
    CANCEL,
    CHANNEL_CLOSE,
    DELIVER,
    END,
    HEADER,
    METHOD,
    NACK,
    RETURN,
    FrameError,
    Properties,
    delivery,
    parse_properties,
    return_reason,
    returned_key,
)
from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    from rabibridge._amqp.frames import Frames
    from rabibridge._connection.multiplexer import Multiplexer

__all__ = ["FastChannel"]

_LARGE = 32 * 1024
"""A part of a body that is as large as this is not copied before the body is complete; it keeps what it came with."""
_TAG_AND_FLAG = struct.Struct(">QB")


class FastChannel:
    """Receives the messages, confirms and returns of one channel, and writes to it until it is closed.

    Subclasses take what arrives by :meth:`delivered`, :meth:`confirmed`, :meth:`returned`, :meth:`closed`,
    :meth:`cancelled` and :meth:`flow_changed`.
    """

    def __init__(self, tap: Multiplexer, channel: int, max_payload: int, max_body: int) -> None:
        """Take the frames of a channel from now on.

        Args:
            tap: the socket.
            channel: the channel number.
            max_payload: the most bytes that a frame may carry.
            max_body: of a body, at most one byte more than this is kept, so that its reader sees that it is too large.
        """
        self.open = True
        self.close_code = 0
        """The code with which the broker closed the channel, 0 if it did not."""
        self.number = channel
        self.max_payload = max_payload
        self._tap = tap
        self._keep = max_body + 1
        self._method = b""  # what the content that is arriving belongs to: DELIVER, RETURN or nothing
        self._tag = 0
        self._redelivered = False
        self._reason = (0, "", b"")
        self._properties: Properties | None = None
        self._parts: list[bytes | memoryview] = []
        self._missing = 0
        self._kept = 0
        self._deliver = b"\0"  # how the last basic.deliver began: its frame's head, the method, the consumer
        self._deliver_size = 0
        tap.lanes[channel] = self

    def message(self, data: bytes, start: int, end: int, size: int) -> int:
        """Take a first delivery with one body frame, all of it in ``data`` and with the properties of a call.

        It does what three calls of :meth:`frame` do, for a third of the time. It leaves to them whatever it has the
        least doubt about, and with that all errors; it is only tried between two messages.
        """
        if not data.startswith(self._deliver, start):
            self._learn(data, start, end)
            return 0
        header = end + 1
        if header + 21 > size or self._method or not self.open:
            return 0
        kind, channel, length, _, _, body_size, flags = CONTENT_HEADER.unpack_from(data, header)
        header_end: int = header + 7 + length
        body = header_end + 8
        body_end: int = body + body_size
        number = self.number
        if kind != HEADER or channel != number or not 0 < body_size < self._keep or body_end >= size or length < 14:
            return 0
        end_octet, kind, channel, length = NEXT_FRAME.unpack_from(data, header_end)
        if end_octet != END or kind != BODY or channel != number or length != body_size or data[body_end] != END:
            return 0
        tag, again = _TAG_AND_FLAG.unpack_from(data, start + self._deliver_size)
        if again & 1:  # it may have to be sent on as it came
            return 0
        properties = parse_common_properties(flags, data, header + 21, header_end)
        if properties is None:
            return 0
        self.delivered(tag, False, properties, data[body:body_end])
        return body_end + 1

    def _learn(self, data: bytes, start: int, end: int) -> None:
        if data[start + 7 : start + 11] == DELIVER and start + 12 + data[start + 11] + 9 <= end:
            self._deliver = data[start : start + 12 + data[start + 11]]
            self._deliver_size = len(self._deliver)

    def frame(self, kind: int, data: bytes, start: int, end: int) -> bool:
        """Take a frame if it is of the call path; leave the others to aiormq."""
        if kind == METHOD:
            return self._take_method(data, start, end)
        if not self._method:
            raise FrameError(f"a content frame on channel {self.number} that belongs to no message")
        if kind == HEADER:
            if self._properties is not None:
                raise FrameError(f"two content headers for one message on channel {self.number}")
            self._missing = int.from_bytes(data[start + 4 : start + 12], "big")
            self._properties = parse_properties(data, start + 12, end)
            if self._redelivered:  # it may have to be sent on
                self._properties = self._properties._replace(raw=data[start + 12 : end])
            if not self._missing:
                self._complete(b"")
        elif kind == BODY:
            size = end - start
            if self._properties is None or size > self._missing:
                raise FrameError(f"a body frame on channel {self.number} that was not announced")
            self._missing -= size
            if not self._missing and not self._parts and size < self._keep:
                self._complete(data[start:end])
            else:
                self._collect(memoryview(data)[start:end] if size >= _LARGE else data[start:end])
        else:
            return False
        return True

    def _take_method(self, data: bytes, start: int, end: int) -> bool:
        method = data[start : start + 4]
        if self._method:
            raise FrameError(f"a method frame inside a message on channel {self.number}")
        if method == DELIVER:
            self._tag, self._redelivered = delivery(data, start, end)
            self._method = DELIVER
        elif method in (ACK, NACK):
            if end - start != 13:
                raise FrameError("a confirm has the wrong length")
            tag = int.from_bytes(data[start + 4 : start + 12], "big")
            if self.open:
                self.confirmed(tag, multiple=data[start + 12] & 1 == 1, accepted=method == ACK)
        elif method == RETURN:
            self._reason = (*return_reason(data, start, end), returned_key(data, start, end))
            self._method = RETURN
        else:
            if method == CHANNEL_CLOSE:
                self.close_code, text = return_reason(data, start, end)
                self.detach()
                self._close(ConnectionLostError(f"the broker closed channel {self.number}: {self.close_code} {text}"))
            elif method == CANCEL and self.open:
                self.cancelled()
            return False
        return True

    def _collect(self, part: bytes | memoryview) -> None:
        if self._kept < self._keep:
            self._parts.append(part[: self._keep - self._kept])
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

    def write(self, frames: Frames) -> None:
        """Send whole frames of this channel; what is written after it closed goes nowhere."""
        if self.open:
            self._tap.write(frames)

    def flush(self) -> None:
        """Send now what was written in this turn of the loop, before aiormq writes something."""
        self._tap.flush()

    def shut(self) -> None:
        """Write nothing more and throw away what arrives: the channel is about to be closed by us."""
        self.open = False

    def detach(self) -> None:
        """Leave all frames to aiormq: the channel is closed."""
        if self._tap.lanes.get(self.number) is self:
            del self._tap.lanes[self.number]

    def socket_lost(self, error: ConnectionLostError) -> None:
        """Close: the connection is gone."""
        self._close(error)

    def _close(self, error: ConnectionLostError) -> None:
        # Nothing may be written once the broker has closed the channel: it would take the connection down with it.
        if self.open:
            self.open = False
            self.closed(error)

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        """Take a message."""
        raise NotImplementedError

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        """Take a publisher confirm."""
        raise NotImplementedError

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        """Take a message of ours that had nowhere to go by its routing key."""
        raise NotImplementedError

    def closed(self, error: ConnectionLostError) -> None:
        """Know that the channel is closed, not by us."""
        raise NotImplementedError

    def cancelled(self) -> None:
        """Know that the broker has cancelled the consumer: its queue was deleted."""
        raise NotImplementedError

    def flow_changed(self) -> None:
        """Know that the socket is full, or not any more."""
