"""A model of RabbitMQ: exchanges, queues and what the connections share: bytes in, bytes out, no event loop.

It carries out what the real transport sends, and refuses the rest. Where RabbitMQ may answer in more than one order, or
later, ``choose`` decides.
"""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tests.simulation.amqp.answering import Answering

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.amqp.channel import BrokerChannel
    from tests.simulation.amqp.connection import BrokerConnection
    from tests.simulation.amqp.messages import Message, Queue

__all__ = ["DIRECT", "Broker", "Exchange", "Refused"]

DIRECT = "amq.rabbitmq.reply-to"
"""The pseudo-queue of direct replies."""
_REPLY_NODE = b"reply@12345678"


class Refused(Exception):
    """An operation for which the broker closes the channel."""

    def __init__(self, code: int, text: str) -> None:
        """Close it with this code and text."""
        super().__init__(code, text)
        self.code, self.text = code, text


class Host(Protocol):
    """What a broker uses of the world around it."""

    def time(self) -> float:
        """Return the time in seconds."""
        ...

    def later(self, seconds: float, act: Callable[[], object]) -> Any:
        """Call ``act`` later; return what can be cancelled."""
        ...

    def choose(self, count: int) -> int:
        """Return a number below ``count``, 0 if all is calm."""
        ...

    def published(self, message: Message) -> None:
        """Called when a request has arrived."""
        ...

    def answered(self, message: Message, outcome: str) -> None:
        """Called when a message was taken, refused or returned."""
        ...

    def answered_wrongly(self, request: Message, how: str) -> None:
        """Called when a reply to a request comes in a way in which none should."""
        ...

    def broken(self, text: str) -> None:
        """Called when a client has broken the protocol."""
        ...

    def deleted(self, queue: Queue) -> None:
        """Called when the queue of a service is deleted."""
        ...


@dataclass
class Exchange:
    """An exchange and its bindings: key, whether to a queue, and the name of that."""

    kind: str
    arguments: dict[str, Any]
    bindings: list[tuple[str, bool, str]] = field(default_factory=list)


class Broker:
    """One node.

    Attributes:
        queues: the queues by name.
        exchanges: the exchanges by name.
        connections: the open connections.
        direct: the channels that consume direct replies, by address.
        alarm: why it takes no messages; empty: it does.
        nacks: how many further messages it refuses, although their queues have room.
        answering: whether workers reply before they acknowledge.
    """

    def __init__(self, host: Host) -> None:
        """Start empty."""
        self.host = host
        self.queues: dict[str, Queue] = {}
        self.exchanges: dict[str, Exchange] = {}
        self.connections: list[BrokerConnection] = []
        self.direct: dict[str, BrokerChannel] = {}
        self.alarm = ""
        self.nacks = 0
        self.answering = Answering(host.answered_wrongly)
        self._names = 0

    def new_name(self, prefix: str) -> str:
        """Return a name that was never used."""
        self._names += 1
        return f"{prefix}{self._names:022d}"

    def new_direct_address(self) -> str:
        """Return an address for direct replies: the identifier of an Erlang process, and a key."""
        self._names += 1
        process = b"\x83Xw" + bytes((len(_REPLY_NODE),)) + _REPLY_NODE + self._names.to_bytes(8, "big") + b"\0\0\0\1"
        key = self._names.to_bytes(16, "big")
        return f"{DIRECT}.{b64encode(process).decode()}.{b64encode(key).decode()}"

    def queue(self, name: str, connection: BrokerConnection) -> Queue:
        """Return a queue that a connection may use."""
        queue = self.queues.get(name)
        if queue is None:
            raise Refused(404, f"NOT_FOUND - no queue '{name}' in vhost '/'")
        if queue.owner not in (None, connection):
            raise Refused(
                405, f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{name}' in vhost '/'"
            )
        return queue

    def exchange(self, name: str) -> Exchange:
        """Return an exchange."""
        found = self.exchanges.get(name)
        if found is None:
            raise Refused(404, f"NOT_FOUND - no exchange '{name}' in vhost '/'")
        return found

    def routes(self, exchange: str, key: str) -> list[Queue]:
        """Return the queues that a message goes to."""
        found: dict[str, Queue] = {}
        if not exchange:
            return [self.queues[key]] if key in self.queues else []
        known = self.exchange(exchange)
        for bound, to_queue, name in known.bindings:
            if bound == key:
                found |= {name: self.queues[name]} if to_queue else {one.name: one for one in self.routes(name, key)}
        if not found and (alternate := known.arguments.get("alternate-exchange")) in self.exchanges:
            return self.routes(alternate, key)
        return list(found.values())

    def publish(self, message: Message) -> tuple[bool, bool]:
        """Bring a message to its queues; return whether there is one, and whether they take it."""
        now = self.host.time()
        if not message.exchange:
            self.answering.published(message)
        if not message.exchange and message.key.startswith(DIRECT + "."):
            target = self.direct.get(message.key)
            if target is None:
                return False, True
            target.deliver_direct(message)
            return True, True
        queues = self.routes(message.exchange, message.key)
        if message.exchange and ":" not in message.key:
            self.host.published(message)
        if queues and self.nacks and message.exchange:
            self.nacks -= 1
            return True, False
        for queue in queues:
            queue.pump(now)
        if any(queue.refuses for queue in queues):
            return True, False
        for queue in queues:
            queue.put(message.copy(), now)
            self.answering.queued(message)
            queue.pump(now)
        return bool(queues), True

    def delete_queue(self, queue: Queue) -> int:
        """Delete a queue; return how many messages were in it."""
        del self.queues[queue.name]
        for exchange in self.exchanges.values():
            exchange.bindings = [one for one in exchange.bindings if one[1:] != (True, queue.name)]
        for consumer in queue.consumers:
            consumer.channel.consumer_cancelled(consumer)
        queue.consumers.clear()
        if queue.owner is None:
            self.host.deleted(queue)
        return len(queue.messages)

    def ended(self, connection: BrokerConnection) -> None:
        """Called when a connection has ended."""
        self.connections.remove(connection)
        for queue in [one for one in self.queues.values() if one.owner is connection]:
            self.delete_queue(queue)

    def restart(self) -> None:
        """Lose all that is not durable; the connections are gone already."""
        for queue in [one for one in self.queues.values() if not one.durable]:
            self.delete_queue(queue)
        for queue in self.queues.values():
            kept = [one for one in queue.messages if one.properties.delivery_mode == 2]
            queue.messages.clear()
            queue.messages.extend(kept)

    def set_alarm(self, reason: str) -> None:
        """Take no messages from now on, or again."""
        self.alarm = reason
        for connection in list(self.connections):
            connection.alarm_changed()
