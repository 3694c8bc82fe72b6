"""The transport to a memory broker: implements the transport protocol of ``rabibridge_core`` without a network."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

from rabibridge_core._protocol.naming import in_namespace
from rabibridge_core.errors import ConfigurationError, ConnectionLostError, NoRouteError, QueueFullError
from rabibridge_core.transport import ConnectionState
from rabibridge_testing._memory.caller import MemoryCaller
from rabibridge_testing._memory.connection import MemoryConnection
from rabibridge_testing._memory.consumer import MemoryConsumer
from rabibridge_testing._memory.namespaces import key_in, queue_in
from rabibridge_testing._memory.threads import locked, post

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.transport import CallerEvents, ConsumerEvents, ControlRequest, Reply, ServiceQueue
    from rabibridge_testing._memory.messages import Message
    from rabibridge_testing._memory.router import Router

__all__ = ["MemoryTransport"]


class MemoryTransport(MemoryConnection):
    """A connection to a :class:`~rabibridge_testing.MemoryBroker` that reconnects until it is closed.

    Attributes:
        broker: the broker.
        name: the name of the transport, used in errors.
        user: the user that its messages name; empty: none.
        loop: the event loop that it was connected on.
        address: where callers send further messages of calls that it processes; empty without a connection.
        namespace: the namespace that its services and its requests are in; empty: none.
        refusals: the classes of the errors for calls that are refused.
        connect_timeout: how long :meth:`connect` waits for a broker that refuses connections, in seconds.
    """

    def __init__(
        self, broker: Router[MemoryTransport], name: str = "memory transport", *, user: str = "", namespace: str = ""
    ) -> None:
        """Create a transport to ``broker``, not connected yet."""
        super().__init__(broker, name)
        self.user, self.namespace = user, namespace
        self.refusals: tuple[type[QueueFullError], type[NoRouteError]] = (QueueFullError, NoRouteError)
        self.connect_timeout = 0.0
        self._callers: list[MemoryCaller] = []

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} {self._state.value}>"

    @property
    def streams(self) -> bool:
        """Whether it carries streams: it does."""
        return True

    async def connect(self) -> None:
        """Connect; without effect if connected.

        Raises:
            ConnectionLostError: the broker refuses connections, or the transport was closed.
            ConfigurationError: the broker serves another event loop.
        """
        loop = asyncio.get_running_loop()
        ends = loop.time() + self.connect_timeout
        while not self.broker.accepting and self._state is ConnectionState.IDLE and loop.time() < ends:  # noqa: ASYNC110
            await asyncio.sleep(min(0.05, ends - loop.time()))  # an event would be of one loop, and they may be several
        if self.attach():
            await self.broker.opened(self)

    @locked
    def attach(self) -> bool:
        """Connect like :meth:`connect`, without calling the broker's ``opened``; return ``False`` if connected."""
        if self._state is ConnectionState.CLOSED:
            raise ConnectionLostError(f"{self.name} is closed: create a new transport to connect again", executed=False)
        if self._state is not ConnectionState.IDLE:
            return False
        self.loop = asyncio.get_running_loop()
        try:
            self.broker.attach(self, self.loop)
        except (ConnectionLostError, ConfigurationError) as error:
            self._last_error = error
            raise
        self._set_ready()
        return True

    async def close(self) -> None:
        """Close for good. Unsettled requests return to their queues. Closing twice does no harm."""
        if self._state is ConnectionState.CLOSED:
            return
        busy = [consumer for consumer in self._consumers if consumer.busy]
        self.abandon()
        error = ConnectionLostError(f"{self.name} was closed")
        for consumer in busy:
            consumer.lost(error)
        await self.broker.closed(self)

    @locked
    def abandon(self) -> None:
        """Close like :meth:`close`, without calling anybody's events: this needs no running loop."""
        self._disconnect(ConnectionState.CLOSED)
        self._drop_all()

    @locked
    def end(self, error: ConnectionLostError) -> None:
        """Close for good from outside, and tell callers and consumers on their loop, if it runs again."""
        callers, consumers = list(self._callers), list(self._consumers)
        loop = self.loop
        self._last_error = error
        self._disconnect(ConnectionState.CLOSED)
        for caller in callers:
            post(loop, caller.lost, error)
        for consumer in consumers:
            post(loop, consumer.lost, error)
        self._drop_all()

    def _drop_all(self) -> None:
        self._callers.clear()
        self._consumers.clear()
        self._wake(self._ready_or_closed)
        self._wake(self._closed)
        if self in self.broker.transports:
            self.broker.transports.remove(self)

    @locked
    def withdraw(self) -> None:
        """Take no more requests from any queue."""
        for consumer in self._consumers:
            consumer.queue.remove(consumer)

    async def open_caller(self, events: CallerEvents, /) -> MemoryCaller:
        """Prepare to send requests and receive replies; while the connection is lost, wait for the next one.

        Raises:
            ConnectionLostError: the transport was never connected, or is closed.
        """
        await self.wait_ready()
        caller = MemoryCaller(self, events)
        with self.lock:
            self._callers.append(caller)
            self.broker.bind_caller(caller)
        return caller

    async def declare(self, queue: ServiceQueue, /) -> None:
        """Create the queue unless it exists, and bind its routing keys.

        While the connection is lost, wait for the next one.

        Raises:
            ConfigurationError: it exists with other limits.
            ConnectionLostError: the transport was never connected, or is closed.
        """
        await self.wait_ready()
        self.broker.declare(queue_in(self.namespace, queue))

    async def delete_unused(self, queue: ServiceQueue, /) -> bool:
        """Delete the queue unless it has consumers or waiting requests; return whether it is gone.

        Raises:
            ConnectionLostError: the transport was never connected, or is closed.
        """
        await self.wait_ready()
        return self.broker.delete_unused(in_namespace(queue.name, self.namespace))

    async def count_consumers(self, queue: ServiceQueue, /) -> int | None:
        """Return how many consumers the queue has; ``None``: there is no such queue."""
        found = self.broker.queues.get(in_namespace(queue.name, self.namespace))
        return None if found is None else found.consumers

    async def serve(self, queue: ServiceQueue, events: ConsumerEvents, /) -> MemoryConsumer:
        """Declare the queue and receive requests from it, at most ``queue.fetch_size`` unsettled at any time.

        While the connection is lost, return at once: the consumer becomes live with the next connection.

        Raises:
            ConfigurationError: see :meth:`declare`.
            ConnectionLostError: the transport was never connected, or is closed.
        """
        return self.consume(queue, events)

    @locked
    def consume(self, queue: ServiceQueue, events: ConsumerEvents) -> MemoryConsumer:
        """Do what :meth:`serve` does, without being a coroutine function."""
        self._check_open()
        queue = queue_in(self.namespace, queue)
        consumer = MemoryConsumer(self, queue, events)
        if self._state is ConnectionState.READY:
            consumer.start(self.broker.declare(queue))
        self._consumers.append(consumer)
        return consumer

    async def receive_control(self, key: str, received: Callable[[ControlRequest], None], /) -> None:
        """Receive control requests from now on, while there is a connection.

        Raises:
            ConnectionLostError: the transport was never connected, or is closed.
        """
        self._check_open()
        self.hear_control(key_in(self.namespace, key), received)

    def _send_answer(self, message: Message, reply: Reply) -> None:
        if self._state is ConnectionState.READY:
            self.act(lambda: self.broker.reply(message, reply, self), publishes=True)

    @locked
    def abort(self, *, restore: bool = True, reason: str = "") -> None:
        """Cut the connection, as if the network failed.

        Callers and consumers are told in the next turn of the loop. Without effect if there is no connection.

        Args:
            restore: reconnect right after that; ``False``: only when the broker's ``restore()`` is called.
            reason: what the error says; empty: that the connection was cut.
        """
        if self._state is not ConnectionState.READY:
            return
        cut = f"{self.name} was cut off from the memory broker {self.broker.name!r}"
        error = ConnectionLostError(reason or f"the connection to the broker is lost: {cut}")
        self._last_error = error
        self._disconnect(ConnectionState.LOST)
        post(self.loop, self._tell_lost, error, list(self._consumers))
        self._consumers = [consumer for consumer in self._consumers if not consumer.stopped or consumer.answering]
        if restore:
            self.restore_soon()

    @property
    def calls(self) -> bool:
        """Whether it has a channel for calls."""
        return self._state is ConnectionState.READY and bool(self._callers)

    @locked
    def restore_soon(self) -> None:
        """Reconnect in the next turn of the loop, if the connection is lost and the broker accepts connections."""
        if self._state is ConnectionState.LOST:
            post(self.loop, self._reconnect)

    @locked
    def consumer_cancelled(self, consumer: MemoryConsumer) -> None:
        """Called when the queue of ``consumer`` was deleted: declare it again in the next turn of the loop."""
        consumer.cancel()
        post(self.loop, self._resume, consumer)

    @locked
    def queue_deleted(self) -> None:
        """Called when a queue was deleted: declare again, in the next turn of the loop, what was refused."""
        for consumer in self._consumers:
            if consumer.error is not None:
                post(self.loop, self._resume, consumer)

    @locked
    def forget(self, consumer: MemoryConsumer) -> None:
        """Drop a consumer that is stopped and has nothing unsettled."""
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    def _set_ready(self) -> None:
        self._state = ConnectionState.READY
        self.address = f"stream:{secrets.token_hex(16)}"
        self._last_error = None
        self._wake(self._ready_or_closed)

    def _disconnect(self, state: ConnectionState) -> None:
        self._state = state
        self.address = ""
        self._ready_or_closed.clear()
        for caller in self._callers:
            self.broker.unbind_caller(caller)
        self._gate.drop()
        self._wake(self._unblocked)  # callers that wait for it check the connection again
        for consumer in self._consumers:
            consumer.disconnect(for_good=state is ConnectionState.CLOSED)

    def _tell_lost(self, error: ConnectionLostError, consumers: list[MemoryConsumer]) -> None:
        for caller in list(self._callers):
            caller.lost(error)
        for consumer in consumers:
            consumer.lost(error)

    @locked
    def _reconnect(self) -> None:
        if self._state is not ConnectionState.LOST or not self.broker.accepting:
            return
        for caller in self._callers:
            self.broker.bind_caller(caller)
        self._set_ready()
        for consumer in list(self._consumers):
            self._resume(consumer)
