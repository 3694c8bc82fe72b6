"""What the services on one connection share: the queue for cancels, and the channel for what is to be kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge._transport.cancellation import CancellationListener
from rabibridge._transport.confirmed_publisher import ConfirmedPublisher

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rabibridge._connection.session import Session
    from rabibridge._transport.consumer import RabbitConsumer

__all__ = ["WorkerSession"]


class WorkerSession:
    """The serving side of one connection. It ends with the connection."""

    def __init__(self, session: Session, name: str, consumers: Callable[[], Iterable[RabbitConsumer]]) -> None:
        """Serve on a connection that the broker lists as ``name``; ``consumers`` gives all that have work on it."""
        self.session = session
        self.parking = ConfirmedPublisher(session, name)
        self.cancels = CancellationListener(session, self._cancelled)
        self._consumers = consumers

    def caller_gone(self, caller: bytes) -> None:
        """Tell all services that a caller is gone."""
        for consumer in self._consumers():
            consumer.events.caller_gone(caller)

    def _cancelled(self, routing_key: bytes, caller: bytes, correlation_id: bytes) -> None:
        key = routing_key.decode("utf-8", "replace")
        for consumer in self._consumers():
            if key in consumer.queue.routing_keys:
                consumer.events.cancelled(caller, correlation_id)
