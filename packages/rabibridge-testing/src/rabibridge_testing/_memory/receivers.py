"""Passes on what goes to several consumers of one connection: cancellations, broadcasts, further messages of calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core.transport import ConnectionState
from rabibridge_testing._memory.control import ControlDelivery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rabibridge_core.errors import ConnectionLostError
    from rabibridge_core.transport import ControlRequest, Reply
    from rabibridge_testing._memory.consumer import MemoryConsumer
    from rabibridge_testing._memory.messages import Message

__all__ = ["Receivers"]


class Receivers:
    """The consumers of one connection. While there is none, what is for them is lost."""

    def __init__(self) -> None:
        """Start without consumers and without a connection."""
        self._state = ConnectionState.IDLE
        self._consumers: list[MemoryConsumer] = []
        self._control: tuple[str, Callable[[ControlRequest], None]] | None = None

    @property
    def consumers(self) -> int:
        """The number of consumers, including stopped ones with requests that are still being processed."""
        return len(self._consumers)

    def lose_channels(self, service: str | None, error: ConnectionLostError) -> None:
        """Lose the channels on which requests of a service arrive, or of all services, but not the connection."""
        if self._state is ConnectionState.READY:
            for consumer in list(self._consumers):
                if service in (None, consumer.queue.service):
                    consumer.lose_channel(error)

    def cancelled(self, routing_key: str, caller: bytes, correlation_id: bytes, user: str) -> None:
        """Called when a call was cancelled: tell the consumers that receive requests with that routing key."""
        if self._state is ConnectionState.READY:
            for consumer in list(self._consumers):
                if routing_key in consumer.spec.routing_keys:
                    consumer.cancelled(caller, correlation_id, user)

    def fed(self, caller: bytes, correlation_id: bytes, message: Reply, user: str) -> None:
        """Called with a further message of a call: tell the consumer that has its request."""
        if self._state is ConnectionState.READY:
            for consumer in self._consumers:
                if consumer.spec.streams and consumer.holds(caller, correlation_id):
                    consumer.fed(caller, correlation_id, message, user)
                    return

    def hear_control(self, routing_key: str, received: Callable[[ControlRequest], None]) -> None:
        """Receive control requests with that routing key from now on."""
        self._control = routing_key, received

    def serves(self, routing_key: str) -> bool:
        """Tell whether it receives broadcasts to the service of ``routing_key``."""
        if self._state is not ConnectionState.READY:
            return False
        return self._is_control(routing_key) or any(self._receivers(routing_key))

    def _is_control(self, routing_key: str) -> bool:
        return self._control is not None and routing_key == self._control[0]

    def broadcast_arrived(self, message: Message) -> None:
        """Called when a broadcast has arrived: pass it to the consumers of its service."""
        if self._state is ConnectionState.READY:
            if self._control is not None and self._is_control(message.request.routing_key):
                self._control[1](ControlDelivery(message, self._send_answer))
                return
            for consumer in list(self._receivers(message.request.routing_key)):
                consumer.broadcast_arrived(message)

    def _receivers(self, routing_key: str) -> Iterator[MemoryConsumer]:
        return (known for known in self._consumers if not known.stopped and routing_key in known.spec.routing_keys)

    def _send_answer(self, message: Message, reply: Reply) -> None:
        """Send the answer to a control request; it is lost where there is no connection."""
        raise NotImplementedError

    def caller_gone(self, caller: bytes) -> None:
        """Called when a caller has disconnected: tell all consumers."""
        if self._state is ConnectionState.READY:
            for consumer in list(self._consumers):
                consumer.caller_gone(caller)
