"""A request that a consumer of the memory broker has taken, until it is settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rabibridge_core._clock import monotonic, wall
from rabibridge_core.transport import HeldBroadcast, HeldRequest, RequestHolder
from rabibridge_testing._memory.messages import caller_name

if TYPE_CHECKING:
    from rabibridge_core.transport import Headers
    from rabibridge_testing._memory.messages import Message
    from rabibridge_testing._memory.queue import MemoryQueue

__all__ = ["BroadcastDelivery", "Delivery", "DeliveryOwner"]

_NO_HEADERS: Headers = {}


class DeliveryOwner(RequestHolder, Protocol):
    """What a delivery uses of the consumer that took it."""

    @property
    def queue(self) -> MemoryQueue:
        """The queue that requests are taken from."""
        ...


class Delivery(HeldRequest):
    """One request being processed. It belongs to the queue that it came from, even if that was deleted meanwhile."""

    __slots__ = ("handed_over", "message", "queue", "replaced")

    def __init__(self, message: Message, consumer: DeliveryOwner) -> None:
        """Deliver ``message`` to ``consumer``."""
        super().__init__(consumer)
        request = message.request
        self.message = message
        self.queue = consumer.queue
        self.caller = caller_name(message.reply_to)
        self.correlation_id = request.correlation_id
        self.body = request.body
        self.content_type = request.content_type
        self.content_encoding = request.content_encoding
        self.time_left = request.timeout
        self.deadline = None
        if message.deadline is not None:  # one clock for both sides, which nobody sets
            self.deadline = wall() + message.deadline - monotonic()
        self.headers = request.headers or _NO_HEADERS
        self.deliveries = message.deliveries
        self.persistent = request.persistent
        self.wants_reply = message.reply_to is not None
        self.user = message.user
        self.handed_over = self.replaced = False


class BroadcastDelivery(HeldBroadcast, Delivery):
    """One broadcast, as one worker received it."""

    __slots__ = ()
