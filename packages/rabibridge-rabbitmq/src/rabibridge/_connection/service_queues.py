"""Declares and binds the queues of services on one connection, many at a time.

A call of kind ``any`` must reach exactly one queue, although a service of one name may exist in both kinds: because
its function was changed from ``async def`` to ``def`` or back, or on purpose. So the exchange ``rpc`` passes such calls
to a second exchange that knows the async services, and its alternate exchange knows the sync ones: whatever workers do,
and in whatever order, the broker finds the async queue, or else the sync one, and never both.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from aiormq import exceptions as amqp

from rabibridge._amqp.control_methods import BIND_OK, bind_exchange, bind_queue, declare_queue
from rabibridge._connection.broker_limits import broker_limit
from rabibridge._connection.channel_pool import ChannelPool
from rabibridge._connection.declaration_pipeline import DeclarationPipeline
from rabibridge._connection.error_translation import translated
from rabibridge._connection.queue_arguments import arguments, inequivalent, is_adoptable, replaced_while_served
from rabibridge._connection.topology import declare_any_exchanges, declare_exchange
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from rabibridge._connection.session import Session
    from rabibridge_core.transport import ServiceQueue

__all__ = ["ServiceQueues"]

_log = get_logger(__name__)


class ServiceQueues:
    """The queues that one connection has declared."""

    def __init__(self, session: Session) -> None:
        """Declare on ``session``."""
        self.pipeline = DeclarationPipeline(session)
        """Declares what is usually not refused."""
        self.pool = ChannelPool(session)
        """Channels for operations that depend on the answers to others."""
        self._session = session
        self._exchanges = asyncio.Lock()
        self._any_declared = False
        self.any_usable = True
        """Whether calls of kind ``any`` can be routed to the queues: not without some permissions."""
        self._declared: dict[str, tuple[ServiceQueue, ServiceQueue]] = {}

    async def declare(self, queue: ServiceQueue) -> ServiceQueue:
        """Declare a queue and bind it; return it as it is on the broker, where its type may be another.

        Raises:
            ConfigurationError: the broker refuses, for example because the queue exists with different arguments.
            ConnectionLostError: the connection is lost.
        """
        await self.declare_exchanges()
        with translated(f"the queue {queue.name!r} cannot be declared"):
            try:
                found = await self._declare_as_permitted(queue)
            except amqp.ChannelPreconditionFailed as error:
                if broker_limit(str(error)):
                    raise
                found = await self._resolve_conflict(queue, error)
        self._declared[queue.name] = _limits(queue), found
        return found

    def take_declared(self, queue: ServiceQueue) -> ServiceQueue | None:
        """Return what :meth:`declare` has returned for this queue, once: the server that declared it starts now."""
        requested, found = self._declared.pop(queue.name, (None, None))
        return found if requested == _limits(queue) else None

    async def bind(self, queue: ServiceQueue) -> None:
        """Declare the exchanges and bind an existing queue again, whatever of that was deleted meanwhile.

        Raises:
            ConfigurationError: the broker refuses.
            ConnectionLostError: the connection is lost.
        """
        with translated(f"the queue {queue.name!r} cannot be bound"):
            await self.pipeline.request(lambda: self._bindings(queue, with_any=self.any_usable), BIND_OK)

    async def declare_exchanges_again(self) -> None:
        """Declare the exchanges, even if that was done on this connection.

        Raises:
            ConfigurationError: one exists with another type.
            ConnectionLostError: the connection is lost.
        """
        self._session.exchange_declared = False
        await self.declare_exchanges()

    async def declare_exchanges(self) -> None:
        """Declare the exchanges, unless that was done on this connection.

        Raises:
            ConfigurationError: one exists with another type.
            ConnectionLostError: the connection is lost.
        """
        async with self._exchanges:  # not by every service that is being declared now
            if not (self._session.exchange_declared and self._any_declared):
                await declare_exchange(self._session, needed=True)
                self.any_usable = await declare_any_exchanges(self._session)
                self._any_declared = True

    async def _declare_as_permitted(self, queue: ServiceQueue, *, default_type: bool = False) -> ServiceQueue:
        """Declare and bind; without the bindings for calls of kind ``any`` if those are what is not permitted."""
        declaration = declare_queue(queue.name, arguments(queue, default_type=default_type))
        with_any = False

        def methods() -> list[bytes]:
            nonlocal with_any
            with_any = self.any_usable
            return [declaration, *self._bindings(queue, with_any=with_any)]

        try:
            await self.pipeline.request(methods, BIND_OK)
        except amqp.ChannelAccessRefused as error:
            if not with_any:
                raise
            without = [declaration, *self._bindings(queue, with_any=False)]
            await self.pipeline.request(lambda: without, BIND_OK)
            if self.any_usable:  # no other service has found out meanwhile
                self.any_usable, names = False, self._session.names
                _log.warning(
                    "calls with ftype='any' do not reach the services of this worker, because its user may not bind "
                    "its queues to the exchanges %r and %r: %s",
                    names.any_exchange, names.any_second_exchange, error,
                    extra=log_fields("service.any_unbound", error=error),
                )  # fmt: skip
        return replace(queue, queue_type="quorum") if default_type else queue

    def _bindings(self, queue: ServiceQueue, *, with_any: bool) -> list[bytes]:
        """Return the methods that bind a queue, of which the broker answers the last."""
        found, names = list[bytes](), self._session.names
        destination = names.any_exchange if queue.preferred else names.any_second_exchange
        for key in queue.any_keys if with_any else ():
            found += (
                bind_exchange(names.any_exchange, names.exchange, key),
                bind_queue(queue.name, destination, key, nowait=True),
            )
        *others, last = (one for one in queue.routing_keys if one not in queue.any_keys)
        found += [bind_queue(queue.name, names.exchange, one, nowait=True) for one in others]
        return [*found, bind_queue(queue.name, names.exchange, last, nowait=False)]

    async def _resolve_conflict(self, queue: ServiceQueue, error: amqp.ChannelPreconditionFailed) -> ServiceQueue:
        """Use a queue that exists with other arguments, or replace it, if either is allowed."""
        if is_adoptable(queue, error):
            try:
                return await self._declare_as_permitted(queue, default_type=True)
            except amqp.ChannelPreconditionFailed:
                pass  # it was declared with other limits, too: the first error says how it differs
        if not queue.redeclare:
            raise inequivalent(queue, error) from error
        async with self.pool.channel() as channel:
            found = await channel.queue_declare(queue.name, passive=True)
            if found.consumer_count:
                raise replaced_while_served(queue, found.consumer_count, error) from error
            await channel.queue_delete(queue.name)
        try:
            return await self._declare_as_permitted(queue)
        except amqp.ChannelPreconditionFailed as again:  # another worker was faster
            raise inequivalent(queue, again) from again


def _limits(queue: ServiceQueue) -> ServiceQueue:
    """Return the queue without what concerns only its first declaration."""
    return replace(queue, redeclare=False) if queue.redeclare else queue
