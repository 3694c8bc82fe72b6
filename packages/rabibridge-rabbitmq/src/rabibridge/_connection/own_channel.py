"""A channel that is opened, used and closed without aiormq, so that many operations are under way on it at a time.

aiormq waits for each answer before it sends the next method on a channel, and spends a task, a lock and two queues on
each. Here methods leave in one piece, and since a broker handles the methods of a channel one after the other, its
answers say how far it has come: when it closes the channel, the first request without an answer is to blame.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from aiormq.exceptions import ChannelInvalidStateError

from rabibridge._amqp.control_methods import (
    CANCEL_OK,
    CHANNEL_CLOSE_OK,
    CHANNEL_OPEN,
    CHANNEL_OPEN_OK,
    CONSUME_OK,
    cancel_ok,
    channel_close,
    method_frames,
)
from rabibridge._amqp.frames import FrameError
from rabibridge._amqp.methods import CANCEL, CHANNEL_CLOSE
from rabibridge._connection.error_translation import channel_error
from rabibridge._connection.fast_channel import FastChannel
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rabibridge._amqp.properties import Properties
    from rabibridge._connection.session import Session

__all__ = ["NotReachedError", "OwnChannel"]

_log = get_logger(__name__)
_limited = LimitedLog(_log)
_FROM_QUEUES = (CONSUME_OK, CANCEL_OK)
"""Answers that the queue gives, and not the channel: those to later methods may arrive before them."""


class NotReachedError(ChannelInvalidStateError):
    """The broker has closed the channel for an earlier request: this one has had no effect and may be sent again."""


class OwnChannel(FastChannel):
    """One open channel. :meth:`request` sends methods; what a :class:`FastChannel` receives arrives as on one."""

    def __init__(self, session: Session, max_body: int) -> None:
        """Open a channel; bodies of at most ``max_body`` bytes are received on it.

        The frame that opens it leaves with the first request.

        Raises:
            ConfigurationError: all channels that the broker allows on this connection are open.
        """
        super().__init__(session.multiplexer, session.free_channel(), session.max_payload, max_body)
        self._loop = asyncio.get_running_loop()
        self._expects_cancel_ok = session.expects_cancel_ok
        self._unsent: tuple[bytes, ...] = (CHANNEL_OPEN,)
        # The answers to come, each with whoever waits for it.
        self._awaited: deque[tuple[bytes, asyncio.Future[bytes] | None]] = deque([(CHANNEL_OPEN_OK, None)])
        self._closing: asyncio.Future[None] | None = None

    @property
    def under_way(self) -> int:
        """How many answers are awaited."""
        return len(self._awaited)

    def request(self, methods: Sequence[bytes], *answers: bytes) -> asyncio.Future[bytes]:
        """Send methods in one piece; return the payload of the last of their answers.

        Args:
            methods: without their frames.
            answers: the identifiers of the answers that the broker sends for them if it does not refuse them.

        Raises:
            AMQPError: as aiormq, if the broker closes the channel because of these methods.
            NotReachedError: it has closed the channel before it came to these.
            ConnectionLostError: the connection is lost.
        """
        answered = self._loop.create_future()
        lost = self._multiplexer.error
        if lost is not None or not self.open:
            answered.set_exception(_lost(lost) if lost else NotReachedError(f"channel {self.number} is closed"))
            return answered
        self._multiplexer.write(method_frames(self.number, (*self._unsent, *methods)))
        self._unsent = ()
        *others, last = answers
        self._awaited += [(answer, None) for answer in others]
        self._awaited.append((last, answered))
        return answered

    def handle_other(self, method: bytes, data: bytes, start: int, end: int) -> bool:
        """Take an answer, or what the broker says about the channel."""
        if method == CHANNEL_CLOSE:
            self._send((CHANNEL_CLOSE_OK,))
        elif method == CANCEL:
            if self._expects_cancel_ok and self.open:
                self._send((cancel_ok(data[start + 5 : start + 5 + data[start + 4]]),))
        elif method == CHANNEL_CLOSE_OK and self._closing is not None:
            self._closed_at_last()
        else:
            self._answered(method, data[start:end])
        return True

    def _send(self, methods: Sequence[bytes]) -> None:
        self._multiplexer.write(method_frames(self.number, methods))
        self._multiplexer.flush()  # before aiormq may open a channel of the same number

    def _answered(self, method: bytes, payload: bytes) -> None:
        for position, (expected, answered) in enumerate(self._awaited):
            if expected == method:
                del self._awaited[position]
                if answered is not None and not answered.done():
                    answered.set_result(payload)
                return
            if expected not in _FROM_QUEUES:
                break
        raise FrameError(f"unexpected method {method.hex()} on channel {self.number}")

    def closed_by_broker(self, code: int, text: str) -> None:
        """Called when the broker closes the channel."""
        super().closed_by_broker(code, text)
        if self._closing is not None:  # the answer to our own channel.close will still arrive
            self._multiplexer.channels[self.number] = self
        self._end(
            lambda first: (
                channel_error(code, text)
                if first
                else NotReachedError(f"the broker closed channel {self.number}: {code} {text}")
            )
        )

    def connection_lost(self, error: ConnectionLostError) -> None:
        """Called when the connection is lost."""
        super().connection_lost(error)
        self._end(lambda first: _lost(error))
        self._closed_at_last()

    def _end(self, error: Callable[[bool], Exception]) -> None:
        """End what is under way; ``error`` is told whether it is for the first request that is not answered."""
        awaited = [answered for _, answered in self._awaited if answered is not None]
        self._awaited.clear()
        for number, answered in enumerate(awaited):
            if not answered.done():
                answered.set_exception(error(number == 0))

    def start_closing(self) -> asyncio.Future[None]:
        """Close the channel: send nothing more, discard what arrives; the future is done when its number is free."""
        self.mark_closing()
        if self._closing is None:
            self._closing = self._loop.create_future()
            if self._multiplexer.error is not None or self._multiplexer.channels.get(self.number) is not self:
                self._closed_at_last()  # the broker has closed it, or is gone
            else:
                self._send((*self._unsent, channel_close()))
        return self._closing

    def _closed_at_last(self) -> None:
        self.detach()
        self._awaited.clear()
        if self._closing is not None and not self._closing.done():
            self._closing.set_result(None)

    # What arrives on a channel that neither publishes nor consumes; channels for calls override it.

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        """Log a delivery, which was not asked for."""
        _limited.log(
            "unexpected delivery", logging.WARNING, "unexpected delivery on channel %d, which does not consume",
            self.number, extra=log_fields("channel.unexpected_delivery"),
        )  # fmt: skip

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        """Log an unexpected publisher confirm: this channel is not in confirm mode."""
        _limited.log(
            "unexpected publisher confirm", logging.WARNING,
            "unexpected publisher confirm on channel %d, which is not in confirm mode",
            self.number, extra=log_fields("channel.unexpected_confirm"),
        )  # fmt: skip

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        """Log a returned message, which was not sent."""
        _limited.log(
            "unexpected returned message", logging.WARNING,
            "unexpected returned message on channel %d, which publishes nothing",
            self.number, extra=log_fields("channel.unexpected_return"),
        )  # fmt: skip

    def closed(self, error: ConnectionLostError) -> None:
        """Called when the broker closes the channel or the connection is lost: requests get their errors."""

    def cancelled(self) -> None:
        """Called when the broker cancels the consumer because its queue was deleted."""


def _lost(error: ConnectionLostError) -> ConnectionLostError:
    """Return an error for one request: many must not share the traceback of one."""
    return ConnectionLostError(str(error), executed=False)
