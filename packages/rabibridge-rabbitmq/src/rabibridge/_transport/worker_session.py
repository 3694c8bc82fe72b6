"""What all services on one connection share: cancellations, replies that need care, and the confirmed publisher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge._transport.cancellation import CancellationListener
from rabibridge._transport.confirmed_publisher import ConfirmedPublisher
from rabibridge._transport.replies import Replies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rabibridge._connection.session import Session
    from rabibridge._transport.interfaces import ServedQueue

__all__ = ["WorkerSession"]


class WorkerSession:
    """The worker side of one connection. It ends with the connection."""

    def __init__(self, session: Session, name: str, consumers: Callable[[], Iterable[ServedQueue]]) -> None:
        """Create the shared parts of a connection.

        Args:
            session: the connection.
            name: the name under which the broker lists the connection.
            consumers: returns all consumers that may have requests in progress on the connection.
        """
        self.session = session
        self.publisher = ConfirmedPublisher(session, name)
        self.replies = Replies(session, name)
        self.cancellations = CancellationListener(session, self._on_cancelled)
        self._consumers = consumers

    def caller_gone(self, caller: bytes) -> None:
        """Notify all services that a caller has disconnected."""
        for consumer in self._consumers():
            consumer.events.caller_gone(caller)

    def _on_cancelled(self, routing_key: bytes, caller: bytes, correlation_id: bytes) -> None:
        key = routing_key.decode("utf-8", "replace")
        for consumer in self._consumers():
            if key in consumer.queue.routing_keys:
                consumer.events.cancelled(caller, correlation_id)
