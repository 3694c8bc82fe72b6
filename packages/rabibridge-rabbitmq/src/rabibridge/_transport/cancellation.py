"""Hearing from callers that they do not wait for a call any more."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from rabibridge._connection.error_translation import translated
from rabibridge._connection.fast_channel import FastChannel
from rabibridge._connection.topology import CANCEL_PREFIX, EXCHANGE, declare_cancel_queue
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiormq.abc import AbstractChannel

    from rabibridge._amqp.frames import Properties
    from rabibridge._connection.session import Session
    from rabibridge_core.transport import ServiceQueue

__all__ = ["CancellationListener"]

_log = logging.getLogger(__name__)
_KEY_MAX = 255
_ACCESS_REFUSED = 403


class _CancelChannel(FastChannel):
    """Takes cancels: a message names caller and call by its properties, and the service by its body."""

    def __init__(self, session: Session, channel: int, heard: Callable[[bytes, bytes, bytes], None]) -> None:
        super().__init__(session.tap, channel, session.max_payload, _KEY_MAX)
        self._heard = heard

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        self._heard(body, properties.reply_to, properties.correlation_id)

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        _log.warning("a confirm on channel %d, which has none", self.number)

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        _log.warning("a return on channel %d, on which nothing is published", self.number)

    def closed(self, error: ConnectionLostError) -> None:
        if self._tap.error is None and self.close_code != _ACCESS_REFUSED:  # that is for who has asked to say
            _log.info("cancels of calls are not heard any more on this connection: %s", error)

    def cancelled(self) -> None:
        self._close(ConnectionLostError("their queue was deleted"))


class CancellationListener:
    """The queue for cancels of one connection, bound for each of its services.

    It is a comfort: where the broker refuses it, calls that nobody waits for run to their end.
    """

    def __init__(self, session: Session, heard: Callable[[bytes, bytes, bytes], None]) -> None:
        """Tell ``heard`` the routing key, the caller and the correlation id of each call that is cancelled."""
        self._session = session
        self._heard = heard
        self._channel: AbstractChannel | None = None
        self._lane: _CancelChannel | None = None
        self._queue = ""
        self._bound: set[str] = set()

    async def listen_for(self, queue: ServiceQueue) -> None:
        """Take the cancels for a service from now on.

        Raises:
            ConnectionLostError: the connection is gone.
        """
        keys = [
            key for key in queue.routing_keys if key not in self._bound and len(key) < _KEY_MAX - len(CANCEL_PREFIX)
        ]
        if not keys or (self._lane is not None and not self._lane.open):
            return
        try:
            with translated("the queue for cancels of calls cannot be used"):
                async with self._session.in_time():
                    channel = self._channel or await self._open()
                    for key in keys:
                        await channel.queue_bind(self._queue, EXCHANGE.decode(), CANCEL_PREFIX + key)
                        self._bound.add(key)
        except ConfigurationError as error:
            _log.info("calls that are cancelled run to their end: %s", error)
        except ConnectionLostError:
            if self._session.error is not None:
                raise

    async def _open(self) -> AbstractChannel:
        channel = self._channel = await self._session.open_channel()
        self._lane = _CancelChannel(self._session, channel.number, self._heard)
        self._queue = await declare_cancel_queue(channel)
        return channel
