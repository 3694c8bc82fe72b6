"""Looks after the exchanges and bindings of a worker: what somebody deletes is declared again within seconds.

The broker tells nobody that a binding is gone: calls are returned to their callers, while the worker waits for requests
that never come. A caller whose call was returned tells the workers, if they can still be reached; besides, each worker
binds its queues again from time to time. That has no effect on bindings that exist, and publishes nothing, so that a
broker with a resource alarm does not block the worker for it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aiormq.exceptions import ChannelAccessRefused, ChannelNotFoundEntity

from rabibridge._connection.error_translation import translated
from rabibridge._transport.unroutable import UnroutableKeys
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from rabibridge._connection.session import Session
    from rabibridge._transport.consumer import RabbitConsumer
    from rabibridge._transport.worker_session import WorkerSession

__all__ = ["BindingWatch"]

_log = get_logger(__name__)
_LOOK_INTERVAL = 5.0
"""Interval between two looks, in seconds."""
_LOOKS_PER_ROUND = 6
"""All services are bound again within so many looks."""
_AT_LEAST = 20
"""How many services are bound again at each look, at least."""


class BindingWatch:
    """The looks at the exchanges and bindings of one connection."""

    def __init__(
        self, name: str, worker_session: WorkerSession, consumers: Callable[[], Sequence[RabbitConsumer]]
    ) -> None:
        """Look after the queues of ``consumers`` on a connection; log under ``name``."""
        self._name = name
        self._worker_session = worker_session
        self._consumers = consumers
        self._next = 0
        self.unroutable = UnroutableKeys()
        """Limits how often a routing key is bound again on request: anybody may ask."""

    async def run(self, sleep: Callable[[Session, float], Awaitable[None]], closing: Callable[[], bool]) -> None:
        """Look now and then, until the connection is lost or about to be closed.

        Args:
            sleep: sleeps for some seconds, or until the connection is lost or closed.
            closing: whether the connection is about to be closed.
        """
        session = self._worker_session.session
        while True:
            await sleep(session, _LOOK_INTERVAL)
            if session.error is not None or closing():
                return
            try:
                await self.look()
            except ConnectionLostError as error:
                _log.debug(
                    "%s: cannot check the bindings: %s", self._name, error,
                    extra=log_fields("binding.check_failed", instance=self._name, error=error),
                )  # fmt: skip

    async def bind_key(self, key: str) -> None:
        """Bind the queue again that is served here for a routing key, because a caller could not send to that key."""
        for consumer in list(self._consumers()):
            if consumer.open_on is self._worker_session.session and key in consumer.queue.routing_keys:
                try:
                    await self._bind(consumer)
                except ConnectionLostError as error:
                    _log.debug(
                        "%s: cannot bind %r again: %s", self._name, consumer.queue.name, error,
                        extra=log_fields("binding.lost", instance=self._name, queue=consumer.queue.name, error=error),
                    )  # fmt: skip

    async def look(self) -> None:
        """Declare again what is missing, and bind the next few services again.

        Raises:
            ConnectionLostError: the connection is lost.
        """
        session, queues = self._worker_session.session, self._worker_session.queues
        consumers = [consumer for consumer in self._consumers() if consumer.open_on is session]
        if not consumers:
            await self._worker_session.cancellations.restore()
            return
        if await self._exchange_missing():
            _log.error(
                "%s: an exchange was deleted; declaring it and all bindings again", self._name,
                extra=log_fields("exchange.deleted", instance=self._name),
            )  # fmt: skip
            for consumer in consumers:
                consumer.bound = False
            try:
                await queues.declare_exchanges_again()
            except ConfigurationError as error:
                for consumer in consumers:
                    consumer.error = error
                return
            chosen = consumers
        else:
            count = max(_AT_LEAST, -(-len(consumers) // _LOOKS_PER_ROUND))
            self._next = self._next if self._next < len(consumers) else 0
            unbound = [consumer for consumer in consumers if not consumer.bound]
            chosen = [*unbound, *consumers[self._next : self._next + count]]
            self._next += count
        for consumer in chosen:
            await self._bind(consumer)
        await self._worker_session.streams.restore()
        await self._worker_session.cancellations.restore()
        for queue in list(self._worker_session.other_kinds.found.values()):
            await self._worker_session.other_kinds.settle(session, queues, queue)

    async def _exchange_missing(self) -> bool:
        names = self._worker_session.session.names
        any_exchanges = (names.any_exchange, names.any_second_exchange)
        for name in (names.exchange, *any_exchanges) if self._worker_session.queues.any_usable else (names.exchange,):
            try:
                with translated(f"the exchange {name!r} cannot be checked"):
                    async with self._worker_session.queues.pool.channel() as channel:
                        await channel.exchange_declare(name, passive=True)
            except ConfigurationError as error:
                if isinstance(error.__cause__, ChannelNotFoundEntity):
                    return True
                if not isinstance(error.__cause__, ChannelAccessRefused):
                    raise
        return False

    async def _bind(self, consumer: RabbitConsumer) -> None:
        """Bind the queue of a consumer again, and remember if the broker refuses it."""
        try:
            await self._worker_session.queues.bind(consumer.queue)
            await self._worker_session.cancellations.bind_again(consumer.queue)
        except ConfigurationError as error:
            if consumer.open_on is self._worker_session.session:  # else its queue was deleted and is declared anew
                _log.log(
                    logging.ERROR if consumer.bound else logging.DEBUG, "%s; trying again", error,
                    extra=log_fields("binding.lost", instance=self._name, queue=consumer.queue.name, error=error),
                )  # fmt: skip
                consumer.bound, consumer.error = False, error
        else:
            if not consumer.bound:
                consumer.bound, consumer.error = True, None
