"""The transport: what the engines use, and what is opened again on each new connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from broker import Broker, Message, RefusedError
from caller import SmallCaller
from consumer import SmallConsumer
from link import LinkOpener, Question, token_of
from rabibridge_core.connection import SupervisedConnection, broker_texts
from rabibridge_core.errors import ConfigurationError, ConnectionLostError, ContentRejectedError
from rabibridge_core.transport import (
    CallerEvents,
    ConnectionState,
    ConsumerEvents,
    ControlRequest,
    Reply,
    ServiceQueue,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from link import Link
    from rabibridge_core.settings import Settings


class SmallTransport:
    streams = True

    def __init__(self, broker: Broker, settings: Settings, name: str) -> None:
        self.broker, self.name = broker, name
        self._connection = SupervisedConnection(
            LinkOpener(broker), settings, name, self._set_up, self._gave_up, on_ready=self._ready, on_lost=self._lost
        )
        self._callers: list[SmallCaller] = []
        self._consumers: list[SmallConsumer] = []
        self._control: tuple[str, Callable[[ControlRequest], None]] | None = None
        self._late: list[tuple[bytes, bytes, Reply]] = []
        self._numbers = 0

    # the connection

    @property
    def link(self) -> Link | None:
        """The connection; None while there is none, from the very moment of the loss."""
        link = self._connection.session
        return None if link is None or link.error is not None else link

    @property
    def state(self) -> ConnectionState:
        lost = self._connection.session is not None and self.link is None
        return ConnectionState.LOST if lost else self._connection.state

    @property
    def last_error(self) -> Exception | None:
        link = self._connection.session
        return self._connection.last_error if link is None else link.error

    async def connect(self) -> None:
        await self._connection.connect()

    async def wait_closed(self) -> None:
        await self._connection.wait_closed()

    async def ready(self) -> Link:
        while (link := await self._connection.ready()).error is not None:  # noqa: ASYNC110
            await asyncio.sleep(0)  # the supervisor notices in one of the next turns
        return link

    async def close(self) -> None:
        consumers = [one for one in self._consumers if one.unsettled or one.answering]
        callers = [one for one in self._callers if one.unconfirmed]
        await self._connection.close()
        self._end(callers, consumers, ConnectionLostError(f"{self.name} is closed"))

    def _gave_up(self, error: Exception) -> None:
        self._end(self._callers, self._consumers, ConnectionLostError(str(error)))

    def _end(self, callers: list[SmallCaller], consumers: list[SmallConsumer], error: ConnectionLostError) -> None:
        for consumer in self._consumers:
            for held in consumer.answering:
                held.void = True
        self._callers, self._consumers = [], []
        for caller in callers:
            caller.lost(error)
        for consumer in consumers:
            consumer.lost(error)

    def abandon(self) -> None:
        self._connection.abandon()

    def abort(self) -> None:
        """Cut the connection, as a failure of the network would."""
        if self.link is not None:
            self.link.fail(ConnectionLostError("aborted"))

    async def _set_up(self, link: Link) -> None:
        """Open on a new connection all that there was on the last one. It counts as ready after that."""
        link.on_arrival, link.on_loss = self._arrived, self._disconnect
        if self._control is not None:
            self.broker.listen(link.token, [self._control[0]])
        for consumer in self._consumers:
            if not consumer.stopped:
                self._start(consumer, link)

    def _start(self, consumer: SmallConsumer, link: Link) -> None:
        try:
            consumer.start(link)
        except ConfigurationError:  # this service stays down, and says why; the others go on
            consumer.link = None

    def _ready(self, _link: Link) -> None:
        late, self._late = self._late, []
        for answer in late:
            self.reply(*answer)

    def _disconnect(self) -> None:
        for consumer in self._consumers:
            consumer.disconnect()

    def _lost(self, _link: Link, error: ConnectionLostError) -> None:
        consumers = list(self._consumers)
        self._consumers = [one for one in consumers if not one.stopped or one.answering]
        for caller in self._callers:
            caller.lost(error)
        for consumer in consumers:
            consumer.lost(error)

    # what callers and consumers use

    def soon(self, call: Callable[..., Any], *arguments: Any) -> None:
        asyncio.get_running_loop().call_soon(call, *arguments)

    def refusal(self, body: bytes, what: str, limit: int | None = None) -> ContentRejectedError | None:
        most = min(self.broker.max_size, limit or self.broker.max_size)
        return ContentRejectedError(broker_texts.too_large(what, len(body), most)) if len(body) > most else None

    def reply(self, address: bytes, correlation_id: bytes, reply: Reply) -> None:
        if self.link is None:
            self._late.append((address, correlation_id, reply))
        elif address and not self.broker.send(token_of(address), "reply", address, correlation_id, reply):
            self._caller_gone(address)

    def probe(self, address: bytes) -> None:
        if token_of(address) not in self.broker.connections:
            self._caller_gone(address)

    def _caller_gone(self, address: bytes) -> None:
        for consumer in self._consumers:
            self.soon(consumer.events.caller_gone, address)

    def forget(self, consumer: SmallConsumer) -> None:
        if consumer in self._consumers:
            self._consumers.remove(consumer)

    # what the engines use

    async def open_caller(self, events: CallerEvents, /) -> SmallCaller:
        await self._connection.ready_in_time()
        self._numbers += 1
        caller = SmallCaller(self, events, self._numbers)
        self._callers.append(caller)
        return caller

    async def declare(self, queue: ServiceQueue, /) -> None:
        await self._connection.ready_in_time()
        try:
            self.broker.declare(queue)
        except RefusedError as error:
            raise ConfigurationError(str(error)) from error

    async def delete_unused(self, queue: ServiceQueue, /) -> bool:
        await self._connection.ready_in_time()
        found = self.broker.queues.get(queue.name)
        if found is not None and (found.subscriptions or found.waiting):
            return False
        self.broker.delete(queue.name)
        return True

    async def serve(self, queue: ServiceQueue, events: ConsumerEvents, /) -> SmallConsumer:
        if self.state is not ConnectionState.LOST:
            await self._connection.ready()
        consumer = SmallConsumer(self, queue, events)
        if self.link is not None:
            consumer.start(self.link)
        self._consumers.append(consumer)  # the next connection starts it again
        return consumer

    async def receive_control(self, key: str, received: Callable[[ControlRequest], None], /) -> None:
        self._control = key, received
        if self.link is not None:
            self.broker.listen(self.link.token, [key])

    def _arrived(self, kind: str, *rest: Any) -> None:
        """Called with what the broker sends to this connection."""
        if kind == "request":
            consumer, subscription, message = rest
            consumer.arrived(subscription, message)
        elif kind == "reply":
            address, correlation_id, reply = rest
            for caller in self._callers:
                if caller.reply_address == address:
                    caller.events.replied(correlation_id, reply)
        elif kind == "broadcast":
            (message,) = rest
            self._broadcast(message)
        elif kind == "cancelled":
            key, caller_address, correlation_id = rest
            for consumer in [one for one in self._consumers if key in one.spec.routing_keys]:
                consumer.events.cancelled(caller_address, correlation_id)
        elif kind == "fed":
            for consumer in [one for one in self._consumers if one.spec.streams and one.holds(rest[0], rest[1])]:
                consumer.events.fed(*rest)
        elif kind == "deleted":
            for consumer in [one for one in self._consumers if one.queue is rest[0] and one.live]:
                assert consumer.link is not None
                self._start(consumer, consumer.link)

    def _broadcast(self, message: Message) -> None:
        key = message.request.routing_key
        if self._control is not None and key == self._control[0]:
            self._control[1](Question(message, self.reply))
            return
        for consumer in [one for one in self._consumers if key in one.spec.routing_keys]:
            consumer.broadcast_arrived(message)
