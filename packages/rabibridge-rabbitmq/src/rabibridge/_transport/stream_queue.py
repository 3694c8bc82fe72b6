"""The queue through which callers send further messages of their calls to the worker that processes them.

Each connection of a worker has one, bound to a key that nobody can guess: the address that goes with the first part of
a reply. It is declared for the first service that takes such messages. If somebody deletes the queue or its binding, it
comes back under the same address, so that streams that are under way can continue.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING

from aiormq.exceptions import ChannelAccessRefused

from rabibridge._amqp.control_methods import BIND_OK, bind_queue
from rabibridge._amqp.field_tables import decode_table_or_empty
from rabibridge._connection.channel_closing import close_channel
from rabibridge._connection.error_translation import is_missing, translated
from rabibridge._connection.fast_channel import FastChannel
from rabibridge._connection.names import STREAM_PREFIX
from rabibridge._connection.topology import declare_stream_queue
from rabibridge_core._concurrency.background import TaskSet
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiormq.abc import AbstractChannel

    from rabibridge._amqp.properties import Properties
    from rabibridge._connection.declaration_pipeline import DeclarationPipeline
    from rabibridge._connection.session import Session

__all__ = ["StreamQueue"]

_log = get_logger(__name__)
_limited = LimitedLog(_log)
_TRIES = 3
"""How often the queue is declared, if it is deleted again before it is bound."""


class _StreamChannel(FastChannel):
    """Receives the messages: the properties identify caller and call."""

    def __init__(
        self,
        session: Session,
        channel: int,
        on_message: Callable[[Properties, Reply], None],
        on_closed: Callable[[_StreamChannel, ConnectionLostError], None],
    ) -> None:
        super().__init__(session.multiplexer, channel, session.max_payload, session.max_body)
        self._on_message = on_message
        self._on_closed = on_closed

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        table = properties.headers
        headers = decode_table_or_empty(table) if table else None
        message = Reply(body, properties.content_type, properties.content_encoding, headers)
        self._on_message(properties, message)

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
        self._on_closed(self, error)

    def cancelled(self) -> None:
        self._close(ConnectionLostError("the queue was deleted"))


class StreamQueue:
    """The queue of one connection of a worker, and its address."""

    def __init__(
        self, session: Session, pipeline: DeclarationPipeline, on_message: Callable[[Properties, Reply], None]
    ) -> None:
        """Prepare; :meth:`open` declares the queue.

        Args:
            session: the connection.
            pipeline: binds the queue.
            on_message: called with the properties and the content of each message.
        """
        self.address = STREAM_PREFIX.decode() + secrets.token_hex(16)
        self._session = session
        self._pipeline = pipeline
        self._on_message = on_message
        self._channel: _StreamChannel | None = None
        self._control_channel: AbstractChannel | None = None
        self._queue = ""
        self._used = False
        self._opening = asyncio.Lock()
        self._tasks = TaskSet()

    async def open(self) -> None:
        """Receive messages from now on; without effect if that is so already.

        Raises:
            ConfigurationError: the broker refuses, for example because a permission is missing.
            ConnectionLostError: the connection is lost.
        """
        async with self._opening:
            if self._channel is not None and self._channel.open:
                return
            for tries_left in reversed(range(_TRIES)):
                try:
                    with translated("streams and uploads cannot be served"):
                        await self._declare()
                        await self._bind()
                    break
                except ConfigurationError as error:
                    await self._give_up()
                    if isinstance(error.__cause__, ChannelAccessRefused):
                        raise self._permission_error(error) from error
                    if not (tries_left and is_missing(error)):  # somebody has deleted it meanwhile
                        raise
            self._used = True

    async def restore(self) -> None:
        """Declare the queue again if it is gone, and bind it again, because its binding may have been deleted.

        Raises:
            ConnectionLostError: the connection is lost.
        """
        if not self._used:
            return
        try:
            channel = self._channel
            if channel is not None and channel.open:
                try:
                    with translated("the queue for streams and uploads cannot be bound"):
                        await self._bind()
                except ConfigurationError as error:
                    if not is_missing(error):
                        raise
                    if self._channel is channel:  # the queue was deleted, and word of that is on its way
                        await self._give_up()
            await self.open()
        except ConfigurationError as error:
            _log.error("%s; trying again", error, extra=log_fields("stream.queue_lost", error=error))

    async def _declare(self) -> None:
        async with self._session.timeout():
            control_channel = await self._session.open_channel()
            channel = _StreamChannel(self._session, control_channel.number, self._on_message, self._on_closed)
            self._channel, self._control_channel = channel, control_channel
            self._queue = await declare_stream_queue(control_channel, self._session.max_body)
        if not channel.open:
            raise self._session.error or ConnectionLostError("the channel for streams was closed", executed=False)

    async def _give_up(self) -> None:
        """Close the channel, and with it the queue, unless the broker has closed it."""
        channel, control_channel = self._channel, self._control_channel
        if channel is None or control_channel is None:
            return
        channel.mark_closing()
        if not control_channel.is_closed and self._session.error is None:
            with translated("the channel for streams cannot be closed"):
                async with self._session.timeout():
                    await close_channel(control_channel)
        channel.detach()

    async def _bind(self) -> None:
        method = bind_queue(self._queue, self._session.names.exchange, self.address, nowait=False)
        await self._pipeline.request(lambda: [method], BIND_OK)

    def _on_closed(self, channel: _StreamChannel, error: ConnectionLostError) -> None:
        if channel is self._channel and self._used and self._session.error is None:
            _log.warning(
                "%s: declaring the queue for streams and uploads again", error,
                extra=log_fields("stream.queue_lost", error=error),
            )  # fmt: skip
            self._tasks.spawn(self._come_back())

    async def _come_back(self) -> None:
        try:
            await self.restore()
        except ConnectionLostError as error:  # the next connection has another one
            _log.debug(
                "the queue for streams and uploads is not declared again: %s", error,
                extra=log_fields("stream.queue_lost", error=error),
            )  # fmt: skip

    async def close(self) -> None:
        """Do not declare it again: the connection is about to be closed."""
        self._used = False
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _permission_error(self, cause: ConfigurationError) -> ConfigurationError:
        exchange = self._session.names.exchange
        user, vhost = self._session.endpoint.username, self._session.endpoint.virtualhost
        return ConfigurationError(
            f"{cause}. A worker that serves streams or uploads declares a queue that the broker names and binds it to "
            f"the exchange {exchange!r}: the user {user!r} needs the permissions CONFIGURE, WRITE and READ for the "
            f"queues 'amq.gen-*', and READ for {exchange!r}, in the virtual host {vhost!r}"
        )
