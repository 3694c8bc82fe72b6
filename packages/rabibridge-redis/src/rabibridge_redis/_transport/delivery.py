"""A request that a worker has taken, until it is settled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core.transport import HeldBroadcast, HeldRequest

if TYPE_CHECKING:
    from rabibridge_core.transport import RequestHolder
    from rabibridge_redis._resp.wire import Envelope

__all__ = ["Broadcast", "Delivery"]


class Delivery(HeldRequest):
    """One request from a queue.

    Attributes:
        id: its entry in the stream.
        epoch: which of several queues of one name it came from, if that was deleted.
        meta: its description, as it arrived.
    """

    __slots__ = ("epoch", "id", "meta")

    def __init__(
        self,
        holder: RequestHolder,
        id_: bytes,
        deliveries: int,
        envelope: Envelope,
        meta: bytes,
        body: bytes,
        epoch: int,
    ) -> None:
        """Deliver a request that ``holder`` has taken."""
        super().__init__(holder)
        self.id, self.meta, self.body, self.epoch = id_, meta, body, epoch
        (
            self.correlation_id, self.caller, self.content_type, self.content_encoding, self.time_left, self.deadline,
            self.headers, self.persistent, self.wants_reply,
        ) = envelope  # fmt: skip
        self.deliveries = deliveries
        self.user = ""  # Redis does not tell who has sent a command


class Broadcast(HeldBroadcast, Delivery):
    """One broadcast, as one worker received it."""

    __slots__ = ()
