"""The RabbitMQ transport: aio-pika and aiormq for control operations, fast channels for calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from rabibridge._connection.names import Names
from rabibridge._connection.opener import LIBRARIES, RabbitOpener
from rabibridge._connection.queue_state import look_at_queue
from rabibridge._transport.caller import RabbitCaller
from rabibridge._transport.consumer_supervisor import ConsumerSupervisor
from rabibridge._transport.control import ControlHandler
from rabibridge_core._concurrency.background import CloseOnce
from rabibridge_core.connection import SupervisedConnection
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_core.transport import ConnectionCounts, ConnectionState

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from rabibridge._connection.session import Session
    from rabibridge._transport.consumer import RabbitConsumer
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import BrokerAddress, CallerEvents, ConsumerEvents, ControlRequest, ServiceQueue

__all__ = ["RabbitMQTransport"]

ResultT = TypeVar("ResultT")
_LATE_TIMEOUT = 5.0
"""How long closing waits for a lost connection to come back, if replies wait for it, in seconds."""


class RabbitMQTransport:
    """One connection to RabbitMQ that is reestablished when it is lost, with all its callers and consumers."""

    def __init__(self, settings: Settings, name: str) -> None:
        """Prepare to connect to the endpoints of ``settings``; the broker lists the connection under ``name``."""
        self._supervisor = ConsumerSupervisor(name)
        self._connection = SupervisedConnection(
            RabbitOpener(settings, name), settings, name, self._supervisor.open_all, self._on_give_up,
            self._on_refused, packages=LIBRARIES,
        )  # fmt: skip
        self._names = Names(settings.namespace)
        self._close_once = CloseOnce()
        self._broker_address: BrokerAddress | None = None
        self._connect_timeout = settings.connect_timeout
        self._drain_timeout = settings.drain_timeout

    def __repr__(self) -> str:
        """Show the state."""
        return f"<{type(self).__name__} {self._connection.name!r} {self.state.value}>"

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return ConnectionState.LOST if self._unhandled_loss() else self._connection.state

    def connection_counts(self) -> ConnectionCounts:
        """Return what has happened to the connections since the transport was made."""
        return self._connection.counts()

    def why_blocked(self) -> str:
        """Return why the broker accepts no messages now; empty: it does."""
        session = self._connection.session
        if session is None or session.multiplexer.blocked is None:
            return ""
        return session.multiplexer.why_paused

    @property
    def namespace(self) -> str:
        """The namespace that all names on the broker are in; empty: none."""
        return self._names.namespace

    @property
    def last_error(self) -> Exception | None:
        """The last connection error, ``None`` while ready."""
        return self._unhandled_loss() or self._connection.last_error

    def _unhandled_loss(self) -> ConnectionLostError | None:
        """Return the error of a connection whose loss is detected but not handled yet."""
        session = self._connection.session
        return session.error if session is not None and self._connection.state is ConnectionState.READY else None

    @property
    def broker_address(self) -> BrokerAddress | None:
        """The broker of the present connection, or of the last one."""
        session = self._connection.session
        if session is not None:
            self._broker_address = session.broker_address
        return self._broker_address

    @property
    def streams(self) -> bool:
        """Whether it carries streams: it does."""
        return True

    async def connect(self) -> None:
        """Connect, and stay connected from then on."""
        await self._connection.connect()

    async def close(self) -> None:
        """Close permanently. Closing completes even if the caller is cancelled."""
        self._supervisor.stop_reopening()
        await self._close_once(self._close)

    async def _close(self) -> None:
        self._supervisor.close_callers(ConnectionLostError(f"{self._connection.name} is closed", executed=False))
        # A broker that blocks the connection reads its replies and acknowledgements when the alarm is over; that it
        # blocks it may become known only after the last ones were sent.
        await self._unblocked()
        await self._supervisor.confirmed()  # before the next step: a reply that is lost now is sent late
        await self._supervisor.late.wait_sent(_LATE_TIMEOUT)
        await self._unblocked()
        await self._supervisor.finish()
        await self._unblocked()
        await self._supervisor.idle()
        await self._connection.close()

    async def _unblocked(self) -> None:
        """Wait while the broker blocks the connection, for the drain timeout since the services were stopped."""
        session, stopped_at = self._connection.session, self._supervisor.stopped_at
        if session is not None and stopped_at is not None:
            await session.unblocked(stopped_at + self._drain_timeout)

    def abandon(self) -> None:
        """Close permanently, without an event loop and without telling anybody."""
        self._connection.abandon()

    async def wait_closed(self) -> None:
        """Wait until it is closed; raise the error that closed it, unless :meth:`close` did."""
        await self._connection.wait_closed()

    def abort(self, reason: str = "aborted on request") -> None:
        """Close the socket at once, as a network failure would; the connection is then reestablished."""
        if self._connection.session is not None:
            self._connection.session.fail(ConnectionLostError(reason))

    async def open_caller(self, events: CallerEvents, /) -> RabbitCaller:
        """Prepare for calls."""
        caller = RabbitCaller(events, self._supervisor.reopen_caller, lambda: self.last_error, self._supervisor.tasks)
        await self._with_session(lambda session: self._supervisor.add_caller(caller, session))
        return caller

    async def declare(self, queue: ServiceQueue, /) -> None:
        """Declare and bind a service queue."""
        queue = self._names.service_queue(queue)
        await self._with_session(lambda session: self._supervisor.declare(queue, session))

    async def delete_unused(self, queue: ServiceQueue, /) -> bool:
        """Delete a service queue unless it has consumers or waiting requests; return whether it is gone."""
        queue = self._names.service_queue(queue)
        return await self._with_session(lambda session: self._supervisor.delete_unused(queue, session))

    async def count_consumers(self, queue: ServiceQueue, /) -> int | None:
        """Return how many consumers the queue has; ``None``: there is no such queue, or the broker does not tell."""
        session = self._connection.session
        if session is None:
            raise ConnectionLostError(f"{self._connection.name} has no connection", executed=False)
        looking = look_at_queue(session, self._names.service_queue(queue).name)
        found = await self._supervisor.tasks.complete(looking)
        return None if found is None else found[0]

    async def serve(self, queue: ServiceQueue, events: ConsumerEvents, /) -> RabbitConsumer:
        """Declare a service queue and receive its requests."""
        consumer = self._supervisor.add_consumer(self._names.service_queue(queue), events)
        if self._is_lost():
            return consumer  # the next connection opens it
        try:
            await self._with_session(lambda session: self._supervisor.open_new_consumer(consumer, session))
        except ConfigurationError:
            self._supervisor.remove_consumer(consumer)
            raise
        except ConnectionLostError:
            if not self._is_lost():
                raise
        except asyncio.CancelledError:
            self._supervisor.tasks.spawn(consumer.stop())
            raise
        return consumer

    async def receive_control(self, key: str, received: Callable[[ControlRequest], None], /) -> None:
        """Receive control requests, on this connection and on all that follow."""
        self._supervisor.control = ControlHandler(key, received)
        if not self._is_lost():
            await self._with_session(self._supervisor.open_control)

    def _is_lost(self) -> bool:
        return self.state is ConnectionState.LOST

    async def _with_session(self, operation: Callable[[Session], Coroutine[Any, Any, ResultT]]) -> ResultT:
        """Run an operation on the connection, and again on the next one if the connection is lost meanwhile.

        The operation completes even if the caller is cancelled.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._connect_timeout
        while True:
            session = await self._connection.ready_until(deadline)
            try:
                return await self._supervisor.tasks.complete(operation(session))
            except ConnectionLostError:
                if self._supervisor.closing or session.error is None or loop.time() >= deadline:
                    raise

    def _on_refused(self, error: ConfigurationError | None) -> None:
        for caller in self._supervisor.callers:
            caller.refuse_unconnected(error)

    def _on_give_up(self, cause: Exception) -> None:
        error = ConnectionLostError(f"{self._connection.name} has given up: {cause}", executed=False)
        error.__cause__ = cause
        self._supervisor.close_callers(error)
