"""Broadcasts, as a worker receives them: through the queue for cancellations, without acknowledgements."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge._transport.incoming import RabbitRequest

if TYPE_CHECKING:
    from rabibridge._amqp.properties import Properties
    from rabibridge._connection.session import Session
    from rabibridge._transport.interfaces import CallKey, Done, PartFeeder, ReplyFrames, ServedQueue
    from rabibridge._transport.replies import Replies
    from rabibridge_core.transport import Reply

__all__ = ["RabbitBroadcast"]


class _NoDelivery:
    """The channel of a request that is not in a queue: nothing is settled, and replies go out by its consumer."""

    open = False
    via_default_exchange = False
    address = ""

    def __init__(self, consumer: ServedQueue, user_id: bytes) -> None:
        self.consumer = consumer
        self.user_id = user_id

    def feeds_to(self, call: CallKey, sender: PartFeeder) -> None:
        pass

    def encode_reply(self, properties: Properties, reply: Reply) -> ReplyFrames:
        return b""

    def reply_apart(self, properties: Properties, reply: Reply, done: Done) -> None:
        done(None)

    def try_size(self, properties: Properties, reply: Reply, done: Done) -> bool:
        return False

    def write(self, frames: ReplyFrames) -> None:
        pass

    def flush(self) -> None:
        pass

    async def synchronize(self) -> None:
        pass

    def settle(self, frames: ReplyFrames, tag: int) -> None:
        pass

    def accept(self, tag: int) -> None:
        pass

    def reject(self, tag: int, *, requeue: bool) -> None:
        pass

    def dead_letter(self, request: RabbitRequest, reason: str, done: Done) -> None:
        done(None)

    def probe(self, reply_to: bytes) -> None:
        self.consumer.probe(reply_to)


class RabbitBroadcast(RabbitRequest):
    """A received broadcast.

    Its replies go out on the channel of its service. A service that has stopped has none: then they take the channel
    for replies that are sent with care; and after a reconnection, the next channel of the service.
    """

    __slots__ = ("_consumer", "_replies", "_session")

    def __init__(
        self, consumer: ServedQueue, session: Session, replies: Replies, properties: Properties, body: bytes
    ) -> None:
        """Wrap a message for the service of ``consumer``, which arrived on ``session``."""
        super().__init__(_NoDelivery(consumer, session.user_id), 0, False, properties, body)
        self._consumer = consumer
        self._session = session
        self._replies = replies

    def announce(self, reply: Reply, /) -> None:
        """Send a reply; another one follows."""
        if self._consumer.open_on is None and self._session.error is None:
            self._replies.send(self.properties, reply, lambda _: None)
        else:
            self._consumer.reply_late(self.properties, reply)

    def reply_part(self, reply: Reply, /) -> None:
        """Send a reply; others follow. It has the size of a progress report: broadcasts are no streams."""
        if self._channel is not None:
            self.announce(reply)

    def reply(self, reply: Reply, /) -> None:
        """Send the reply."""
        if self._channel is not None:
            self._channel = None
            self.announce(reply)

    def dead_letter(self, reason: str, reply: Reply | None = None, /) -> None:
        """Send the reply, if there is one."""
        if reply is not None:
            self.reply(reply)
