"""Receives what goes to every worker of a service: broadcasts, and cancellations.

By a cancellation, a caller reports that it no longer waits for a call. A header says that a message is a broadcast.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rabibridge._amqp.control_methods import BIND_OK, bind_queue
from rabibridge._amqp.frames import content
from rabibridge._amqp.headers import BROADCAST_HEADER
from rabibridge._amqp.methods import ACCESS_REFUSED, publish_method
from rabibridge._connection.error_translation import translated
from rabibridge._connection.fast_channel import FastChannel
from rabibridge._connection.names import CANCEL_PREFIX
from rabibridge._connection.topology import declare_cancel_queue
from rabibridge_core._protocol.broadcasts import BROADCAST_MAX
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rabibridge._amqp.properties import Properties
    from rabibridge._connection.declaration_pipeline import DeclarationPipeline
    from rabibridge._connection.session import Session
    from rabibridge_core.transport import ServiceQueue

__all__ = ["CancellationListener"]

_log = get_logger(__name__)
_limited = LimitedLog(_log)
_ROUTING_KEY_MAX = 255
_BROADCAST = BROADCAST_HEADER.encode()


class _CancellationChannel(FastChannel):
    """Receives cancellations: the properties identify caller and call, the body is the routing key of the service."""

    def __init__(
        self,
        session: Session,
        channel: int,
        on_cancelled: Callable[[Properties, bytes], None],
        on_broadcast: Callable[[Properties, bytes], None],
    ) -> None:
        super().__init__(session.multiplexer, channel, session.max_payload, BROADCAST_MAX)
        self._on_cancelled = on_cancelled
        self._on_broadcast = on_broadcast
        self.queue_deleted = False

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        if _BROADCAST in properties.headers:
            self._on_broadcast(properties, body)
        else:
            self._on_cancelled(properties, body)

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        _limited.log(
            "unexpected publisher confirm", logging.WARNING,
            "unexpected publisher confirm on channel %d, which is not in confirm mode",
            self.number, extra=log_fields("channel.unexpected_confirm"),
        )  # fmt: skip

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        _limited.log(
            "unexpected returned message", logging.WARNING,
            "unexpected returned message on channel %d, which publishes nothing",
            self.number, extra=log_fields("channel.unexpected_return"),
        )  # fmt: skip

    def closed(self, error: ConnectionLostError) -> None:
        # A missing permission is reported by the operation that needs it.
        if self._multiplexer.error is None and self.close_code != ACCESS_REFUSED:
            _log.info(
                "no more cancellations are received on this connection: %s", error,
                extra=log_fields("cancellation.ended", error=error),
            )  # fmt: skip

    def cancelled(self) -> None:
        self.queue_deleted = True
        self._close(ConnectionLostError("the queue for cancellations was deleted"))


class CancellationListener:
    """The cancellation queue of one connection, bound for each of its services.

    Best effort: if the broker refuses the queue, cancelled calls run to completion.
    """

    def __init__(
        self,
        session: Session,
        pipeline: DeclarationPipeline,
        on_cancelled: Callable[[Properties, bytes], None],
        on_broadcast: Callable[[Properties, bytes], None],
    ) -> None:
        """Prepare to listen.

        Args:
            session: the connection.
            pipeline: binds the queue.
            on_cancelled: called with the properties and the body of each cancellation.
            on_broadcast: called with each broadcast.
        """
        self._session = session
        self._pipeline = pipeline
        self._on_cancelled = on_cancelled
        self._on_broadcast = on_broadcast
        self._channel: _CancellationChannel | None = None
        self._queue = ""
        self._control_key = ""
        self._bound: set[str] = set()
        self._opening = asyncio.Lock()

    async def listen_for_control(self, key: str) -> None:
        """Receive control requests from now on.

        Raises:
            ConnectionLostError: the connection is lost.
        """
        self._control_key = key
        if self._channel is None or self._channel.open:
            await self._bind([key])

    def reply(self, address: bytes, flags: int, properties: bytes, body: bytes) -> bool:
        """Send a message to a reply queue, on the channel of cancellations; return whether that could be done."""
        channel = self._channel
        if channel is None or not channel.open:
            return False
        method = publish_method(channel.number, b"", address, mandatory=False)
        channel.write(content(channel.number, method, flags, properties, body, channel.max_payload))
        return True

    async def restore(self) -> None:
        """Receive again what was received before, if the queue was deleted; bind the key of control requests again.

        Raises:
            ConnectionLostError: the connection is lost.
        """
        if self._channel is not None and not self._channel.open and self._channel.queue_deleted:
            _log.info(
                "the queue for cancellations was deleted; declaring it again",
                extra=log_fields("cancellation.queue_deleted"),
            )
            self._channel, keys = None, list(self._bound)
            await self._bind(keys)
        elif self._control_key and self._channel is not None and self._channel.open:
            await self._bind([self._control_key])

    async def listen_for(self, queue: ServiceQueue) -> None:
        """Receive the cancellations of a service from now on.

        Raises:
            ConnectionLostError: the connection is lost.
        """
        if self._channel is None or self._channel.open:
            await self._bind([key for key in queue.routing_keys if key not in self._bound])

    async def bind_again(self, queue: ServiceQueue) -> None:
        """Bind the keys of a service again, because their bindings may have been deleted.

        Raises:
            ConnectionLostError: the connection is lost.
        """
        if self._channel is not None and self._channel.open:
            await self._bind([key for key in queue.routing_keys if key in self._bound])

    async def _bind(self, keys: Sequence[str]) -> None:
        max_length = _ROUTING_KEY_MAX - len(CANCEL_PREFIX)
        keys = [key for key in keys if len(key) < max_length]
        if not keys:
            return
        try:
            with translated("cannot listen for cancelled calls"):
                async with self._opening:
                    if self._channel is not None and not self._channel.open:
                        return  # another service was refused meanwhile
                    if self._channel is None:
                        await self._open()
                self._bound.update(keys)
                *others, last = (CANCEL_PREFIX + key for key in keys)
                exchange = self._session.names.exchange
                methods = [bind_queue(self._queue, exchange, key, nowait=True) for key in others]
                methods.append(bind_queue(self._queue, exchange, last, nowait=False))
                await self._pipeline.request(lambda: methods, BIND_OK)
        except ConfigurationError as error:
            _log.info(
                "%s; cancelled calls run to completion", error,
                extra=log_fields("cancellation.unavailable", error=error),
            )  # fmt: skip
        except ConnectionLostError:
            if self._session.error is not None:
                raise

    async def _open(self) -> None:
        channel = await self._session.open_channel()
        self._channel = _CancellationChannel(self._session, channel.number, self._on_cancelled, self._on_broadcast)
        self._queue = await declare_cancel_queue(channel)
