"""What all services on one connection share: declarations, cancellations, doubtful replies, the confirmed publisher."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from aiormq.exceptions import ChannelAccessRefused

from rabibridge._amqp.field_tables import decode_table_or_empty
from rabibridge._amqp.headers import BROADCAST_HEADER
from rabibridge._amqp.properties import user_of
from rabibridge._connection.error_translation import permission_error, translated
from rabibridge._connection.service_queues import ServiceQueues
from rabibridge._transport.broadcasts import RabbitBroadcast
from rabibridge._transport.cancellation import CancellationListener
from rabibridge._transport.confirmed_publisher import ConfirmedPublisher
from rabibridge._transport.control import RabbitControlRequest
from rabibridge._transport.replies import Replies
from rabibridge._transport.stream_queue import StreamQueue
from rabibridge_core._protocol.broadcasts import BROADCAST_MAX
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rabibridge._amqp.properties import Properties
    from rabibridge._connection.other_kind import OtherKinds
    from rabibridge._connection.session import Session
    from rabibridge._transport.control import ControlHandler
    from rabibridge._transport.interfaces import CallKey, PartFeeder, ServedQueue
    from rabibridge._transport.letter_shares import LetterShares
    from rabibridge_core.transport import Reply, ServiceQueue

__all__ = ["WorkerSession"]

_log = get_logger(__name__)
_CANCELLED_AT_ONCE = 32


class WorkerSession:
    """The worker side of one connection. It ends with the connection."""

    def __init__(
        self,
        session: Session,
        name: str,
        consumers: Callable[[], Iterable[ServedQueue]],
        other_kinds: OtherKinds,
        on_unroutable: Callable[[str], None],
        letters: LetterShares,
    ) -> None:
        """Create the shared parts of a connection.

        Args:
            session: the connection.
            name: the name under which the broker lists the connection.
            consumers: returns all consumers that may have requests in progress on the connection.
            other_kinds: removes queues that the other kinds of the services have left behind.
            on_unroutable: called with a routing key to which a caller could not send.
            letters: bounds the dead letters of each sender.
        """
        self.session = session
        self._name = name
        self.queues = ServiceQueues(session)
        self.publisher = ConfirmedPublisher(session, name, letters)
        self.replies = Replies(session, name)
        pipeline = self.queues.pipeline
        self.cancellations = CancellationListener(session, pipeline, self._on_cancelled, self._on_broadcast)
        self.streams = StreamQueue(session, pipeline, self._on_fed)
        self.feeding: WeakValueDictionary[CallKey, PartFeeder] = WeakValueDictionary()
        """Requests to which parts of replies were sent, by caller, id and user: others get no messages."""
        self.other_kinds = other_kinds
        self.cancelling = asyncio.Semaphore(_CANCELLED_AT_ONCE)
        """How many services may be stopped at a time, so that a thousand have not timed out before their turn comes."""
        self._consumers = consumers
        self._on_unroutable = on_unroutable
        self._control: ControlHandler | None = None
        self._may_reply = False
        self._checking = asyncio.Lock()

    async def declare(self, queue: ServiceQueue) -> None:
        """Declare and bind the queue of a service.

        Raises:
            ConfigurationError: the broker refuses.
            ConnectionLostError: the connection is lost.
        """
        await self.queues.declare(queue)
        await self.other_kinds.settle(self.session, self.queues, queue)

    async def prepare(self, queue: ServiceQueue) -> ServiceQueue:
        """Make ready to consume from the queue of a service; return it as it is on the broker.

        Raises:
            ConfigurationError: the broker refuses.
            ConnectionLostError: the connection is lost.
        """
        await self._check_replies()
        found = self.queues.take_declared(queue)
        if found is None:
            found = await self.queues.declare(queue)
            self.queues.take_declared(queue)
            await self.other_kinds.settle(self.session, self.queues, queue)
        await self.cancellations.listen_for(queue)
        if queue.streams:
            await self.streams.open()
        return found

    async def receive_control(self, handler: ControlHandler) -> None:
        """Receive control requests. That the broker refuses it is logged.

        Raises:
            ConnectionLostError: the connection is lost.
        """
        self._control = handler
        try:
            await self.queues.declare_exchanges()
        except ConfigurationError as error:
            _log.warning(
                "%s: %s; this worker does not answer control requests", self._name, error,
                extra=log_fields("control.unavailable", instance=self._name, error=error),
            )  # fmt: skip
            return
        await self.cancellations.listen_for_control(handler.key)

    async def drain(self) -> None:
        """Wait a few seconds at most until nothing that is sent with care is on its way."""
        await self.streams.close()
        await self.replies.drain()
        await self.publisher.drain()

    def forget_reply_permission(self) -> None:
        """Check again before the next service starts whether replies may be published: one was refused."""
        self._may_reply = False

    async def _check_replies(self) -> None:
        """Check that replies may be published, before a function runs whose result could not be sent.

        Raises:
            ConfigurationError: the user may not write to the default exchange.
            ConnectionLostError: the connection is lost.
        """
        async with self._checking:
            if self._may_reply:
                return
            with translated("cannot check whether replies can be sent"):
                try:
                    async with self.session.temporary_channel() as channel:
                        # To a queue that does not exist. The broker refuses it before it answers the next operation.
                        await channel.basic_publish(b"", routing_key=f"rpc.check.{secrets.token_hex(8)}")
                        await channel.basic_qos(prefetch_count=0)
                except ChannelAccessRefused as error:
                    raise permission_error(self.session.endpoint, "amq.default", "every reply", error) from error
            self._may_reply = True

    def caller_gone(self, caller: bytes) -> None:
        """Notify all services that a caller has disconnected."""
        for consumer in self._consumers():
            consumer.events.caller_gone(caller)

    def _on_cancelled(self, properties: Properties, routing_key: bytes) -> None:
        key, correlation_id = routing_key.decode("utf-8", "replace"), properties.correlation_id
        if not correlation_id:  # a caller tells that the broker has no queue for this key
            self._on_unroutable(key)
            return
        for consumer in self._consumers():
            if key in consumer.queue.routing_keys:
                consumer.events.cancelled(properties.reply_to, correlation_id, user_of(properties))

    def _on_fed(self, properties: Properties, message: Reply) -> None:
        """Pass a further message of a call to the service that processes the call."""
        caller, correlation_id, user = properties.reply_to, properties.correlation_id, user_of(properties)
        sender = self.feeding.get((caller, correlation_id, user))
        if sender is not None:
            sender.consumer.events.fed(caller, correlation_id, message, user)

    def _on_broadcast(self, properties: Properties, body: bytes) -> None:
        """Pass a broadcast to the services that it is for, unless they have stopped or do not receive calls."""
        key = decode_table_or_empty(properties.headers).get(BROADCAST_HEADER)
        if not properties.reply_to or len(body) > BROADCAST_MAX or self.replies.refusal(properties.reply_to):
            return
        if self._control is not None and key == self._control.key:
            self._control.received(RabbitControlRequest(self.cancellations, self.replies, properties, body))
            return
        for consumer in self._consumers():
            if key in consumer.queue.routing_keys and not consumer.stopped and consumer.open_on is self.session:
                request = RabbitBroadcast(consumer, self.session, self.replies, properties, body)
                consumer.events.broadcast_received(request)
