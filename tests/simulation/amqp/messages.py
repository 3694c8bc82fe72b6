"""Messages of the simulated broker and its queues. They know no bytes of methods, and no clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pamqp import header as amqp_header

if TYPE_CHECKING:
    from tests.simulation.amqp.channel import BrokerChannel
    from tests.simulation.amqp.connection import BrokerConnection

__all__ = ["Consumer", "Message", "Queue"]


@dataclass(eq=False)
class Message:
    """A message in a queue, or on its way to one.

    Attributes:
        exchange: where it was published.
        key: its routing key.
        header: the payload of its content header, as it came.
        body: its body.
        redelivered: whether it was delivered before.
        expires_at: when it is dropped from a queue, in seconds; ``None``: never.
        place: its place in its queue.
    """

    exchange: str
    key: str
    header: bytes
    body: bytes
    redelivered: bool = False
    expires_at: float | None = None
    place: int = 0

    @property
    def properties(self) -> Any:
        """Its properties."""
        decoded = amqp_header.ContentHeader()
        decoded.unmarshal(self.header)
        return decoded.properties

    def replace_reply_to(self, address: str) -> None:
        """Give it another address for replies."""
        decoded = amqp_header.ContentHeader()
        decoded.unmarshal(self.header)
        decoded.properties.reply_to = address
        self.header = decoded.marshal()

    def copy(self) -> Message:
        """Return one for a further queue."""
        return Message(self.exchange, self.key, self.header, self.body)


@dataclass(eq=False)
class Consumer:
    """A consumer of a queue.

    Attributes:
        channel: its channel.
        queue: its queue.
        tag: its name.
        no_ack: whether what it gets is acknowledged at once.
        prefetch: how many messages it may have unacknowledged; 0: any number.
        unsettled: how many it has.
    """

    channel: BrokerChannel
    queue: Queue
    tag: str
    no_ack: bool
    prefetch: int
    unsettled: int = 0

    @property
    def ready(self) -> bool:
        """Whether it takes another message."""
        return not self.prefetch or self.unsettled < self.prefetch


@dataclass(eq=False)
class Queue:
    """A queue.

    Attributes:
        name: its name.
        durable: whether it outlives a restart.
        owner: the connection that it ends with; ``None``: it belongs to none.
        auto_delete: whether it ends with its last consumer.
        arguments: what it was declared with.
        messages: those that wait.
        consumers: those that take messages, the next one first.
    """

    name: str
    durable: bool
    owner: BrokerConnection | None
    auto_delete: bool
    arguments: dict[str, Any]
    messages: deque[Message] = field(default_factory=deque)
    consumers: deque[Consumer] = field(default_factory=deque)
    unsettled: int = 0
    _placed: int = 0

    @property
    def refuses(self) -> bool:
        """Whether it is full, and refuses what comes."""
        most, size = self.arguments.get("x-max-length"), self.arguments.get("x-max-length-bytes")
        if self.arguments.get("x-overflow") != "reject-publish":
            return False
        full = most is not None and len(self.messages) >= most
        return full or (size is not None and sum(len(message.body) for message in self.messages) >= size)

    def put(self, message: Message, now: float) -> None:
        """Append a message."""
        self._placed += 1
        message.place = self._placed
        lives = [ttl for ttl in (self.arguments.get("x-message-ttl"), message.properties.expiration) if ttl is not None]
        if lives:
            message.expires_at = now + min(map(int, lives)) / 1000
        self.messages.append(message)

    def put_back(self, returned: list[Message]) -> None:
        """Bring messages back to their places."""
        for message in returned:
            message.redelivered = True
        self.messages = deque(sorted((*self.messages, *returned), key=lambda message: message.place))

    def pump(self, now: float) -> None:
        """Deliver what can be delivered."""
        while self.messages and self.messages[0].expires_at is not None and self.messages[0].expires_at <= now:
            self.messages.popleft()
        while self.messages:
            consumer = next((one for one in self.consumers if one.ready), None)
            if consumer is None:
                return
            self.consumers.remove(consumer)
            self.consumers.append(consumer)
            message = self.messages.popleft()
            if message.expires_at is None or message.expires_at > now:
                consumer.channel.deliver(consumer, message)
