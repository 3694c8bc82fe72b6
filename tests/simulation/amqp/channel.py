"""One channel of the simulated broker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pamqp import commands as spec

from tests.simulation.amqp.broker import DIRECT, Exchange, Refused
from tests.simulation.amqp.confirms import Confirms
from tests.simulation.amqp.messages import Consumer, Message, Queue

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulation.amqp.connection import BrokerConnection

__all__ = ["BrokerChannel"]


class BrokerChannel:
    """An open channel.

    Attributes:
        number: its number.
        closing: whether the broker has closed it, and waits for the answer.
        consumers: its consumers by tag.
    """

    def __init__(self, connection: BrokerConnection, number: int) -> None:
        """Open it."""
        self.connection, self.number = connection, number
        self.broker, self.host = connection.broker, connection.broker.host
        self.closing = False
        self.consumers: dict[str, Consumer] = {}
        self._unacked: dict[int, tuple[Consumer, Message]] = {}
        self._tag = 0
        self._prefetch = 0
        self._confirms: Confirms | None = None
        self._publishing: spec.Basic.Publish | None = None
        self._header = b""
        self._body = b""
        self._direct = ""

    def send(self, method: Any) -> None:
        """Send a method."""
        self.connection.send_method(self.number, method)

    def close(self, code: int, text: str) -> None:
        """Close it, as RabbitMQ does for an operation that it refuses."""
        self.release()
        self.closing = True
        self.send(spec.Channel.Close(code, text, 0, 0))

    def release(self) -> None:
        """Give back what it holds: consumers, messages and confirms."""
        if self._confirms is not None:
            self._confirms.over = True
        self.broker.direct.pop(self._direct, None)
        queues = {consumer.queue.name: consumer.queue for consumer in self.consumers.values()}
        returned: dict[str, list[Message]] = {}
        for consumer in self.consumers.values():
            if consumer in consumer.queue.consumers:
                consumer.queue.consumers.remove(consumer)
        for consumer, message in self._unacked.values():
            queues[consumer.queue.name] = consumer.queue
            returned.setdefault(consumer.queue.name, []).append(message)
            consumer.queue.unsettled -= 1
        self.consumers.clear()
        self._unacked.clear()
        for name, queue in queues.items():
            if self.broker.queues.get(name) is not queue:
                continue
            for message in returned.get(name, []):
                self.broker.answering.came_back(message)
            queue.put_back(returned.get(name, []))
            self._unused(queue)
            queue.pump(self.host.time())

    def _unused(self, queue: Queue) -> None:
        if queue.auto_delete and not queue.consumers and self.broker.queues.get(queue.name) is queue:
            self.broker.delete_queue(queue)

    # What the client sends.

    def method(self, method: Any) -> None:
        """Carry out a method."""
        if isinstance(method, spec.Basic.Publish):
            self._publishing = method
            return
        handler = _METHODS.get(type(method))
        if handler is None:
            self.host.broken(f"it has sent {method.name}")
            raise Refused(540, f"NOT_IMPLEMENTED - {method.name}")
        answer = handler(self, method)
        if answer is not None and not getattr(method, "nowait", False):
            self.send(answer)
        if isinstance(method, spec.Basic.Consume) and method.consumer_tag in self.consumers:
            self.consumers[method.consumer_tag].queue.pump(self.host.time())

    def content_header(self, payload: bytes) -> None:
        """Take the header of a message."""
        self._header, self._body = payload, b""
        if not int.from_bytes(payload[4:12], "big"):
            self._published()

    def content_body(self, payload: bytes) -> None:
        """Take a part of its body."""
        self._body += payload
        if len(self._body) >= int.from_bytes(self._header[4:12], "big"):
            self._published()

    def _published(self) -> None:
        method, self._publishing = self._publishing, None
        assert method is not None
        exchange, key = method.exchange or "", method.routing_key or ""
        message = Message(exchange, key, self._header, self._body)
        if self._direct and message.properties.reply_to == DIRECT:
            message.replace_reply_to(self._direct)
        if exchange:
            self.broker.exchange(exchange)
        routed, accepted = self.broker.publish(message)
        if exchange:
            self.host.answered(message, "returned" if not routed else "taken" if accepted else "refused")
        give_back = None if routed or not method.mandatory else lambda: self._give_back(message)
        if self._confirms is not None:
            self._confirms.add(accepted=accepted, give_back=give_back)
        elif give_back is not None:
            give_back()

    def _give_back(self, message: Message) -> None:
        returned = spec.Basic.Return(312, "NO_ROUTE", message.exchange, message.key)
        self.connection.send_message(self.number, returned, message)

    def _declare_exchange(self, asked: spec.Exchange.Declare) -> Any:
        known = self.broker.exchanges.get(asked.exchange)
        if known is None and asked.passive:
            self.broker.exchange(asked.exchange)
        if known is None:
            self.broker.exchanges[asked.exchange] = Exchange(asked.exchange_type, dict(asked.arguments or {}))
        elif not asked.passive and known.kind != asked.exchange_type:
            raise Refused(406, f"PRECONDITION_FAILED - inequivalent arg 'type' for exchange '{asked.exchange}'")
        return spec.Exchange.DeclareOk()

    def _bind_exchange(self, asked: spec.Exchange.Bind) -> Any:
        self.broker.exchange(asked.destination)
        bindings = self.broker.exchange(asked.source).bindings
        bound = asked.routing_key, False, asked.destination
        if bound not in bindings:
            bindings.append(bound)
        return spec.Exchange.BindOk()

    def _declare_queue(self, asked: spec.Queue.Declare) -> Any:
        name = asked.queue or self.broker.new_name("amq.gen-")
        if asked.passive or name in self.broker.queues:
            queue = self.broker.queue(name, self.connection)
            if not asked.passive and queue.arguments != dict(asked.arguments or {}):
                raise Refused(406, f"PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue '{name}'")
        else:
            owner = self.connection if asked.exclusive else None
            queue = Queue(name, asked.durable, owner, asked.auto_delete, dict(asked.arguments or {}))
            self.broker.queues[name] = queue
        return spec.Queue.DeclareOk(name, len(queue.messages), len(queue.consumers))

    def _bind_queue(self, asked: spec.Queue.Bind) -> Any:
        self.broker.queue(asked.queue, self.connection)
        bindings = self.broker.exchange(asked.exchange).bindings
        bound = asked.routing_key, True, asked.queue
        if bound not in bindings:
            bindings.append(bound)
        return spec.Queue.BindOk()

    def _unbind_queue(self, asked: spec.Queue.Unbind) -> Any:
        bindings = self.broker.exchange(asked.exchange).bindings
        bound = asked.routing_key, True, asked.queue
        if bound in bindings:
            bindings.remove(bound)
        return spec.Queue.UnbindOk()

    def _delete_queue(self, asked: spec.Queue.Delete) -> Any:
        if asked.queue not in self.broker.queues:
            return spec.Queue.DeleteOk(0)
        queue = self.broker.queue(asked.queue, self.connection)
        if (asked.if_unused and queue.consumers) or (asked.if_empty and queue.messages):
            raise Refused(406, f"PRECONDITION_FAILED - queue '{asked.queue}' in vhost '/' in use or not empty")
        return spec.Queue.DeleteOk(self.broker.delete_queue(queue))

    def _qos(self, asked: spec.Basic.Qos) -> Any:
        self._prefetch = asked.prefetch_count
        return spec.Basic.QosOk()

    def _select(self, asked: spec.Confirm.Select) -> Any:
        if self._confirms is None:
            self._confirms = Confirms(self.host, self.send)
        return spec.Confirm.SelectOk()

    def _consume(self, asked: spec.Basic.Consume) -> Any:
        asked.consumer_tag = asked.consumer_tag or self.broker.new_name("amq.ctag-")
        if asked.queue == DIRECT:
            self._direct = self.broker.new_direct_address()
            self.broker.direct[self._direct] = self
            return spec.Basic.ConsumeOk(asked.consumer_tag)
        queue = self.broker.queue(asked.queue, self.connection)
        consumer = Consumer(self, queue, asked.consumer_tag, asked.no_ack, self._prefetch)
        self.consumers[asked.consumer_tag] = consumer
        queue.consumers.append(consumer)
        return spec.Basic.ConsumeOk(asked.consumer_tag)

    def _cancel(self, asked: spec.Basic.Cancel) -> Any:
        consumer = self.consumers.pop(asked.consumer_tag or "", None)
        if consumer is not None and consumer in consumer.queue.consumers:
            consumer.queue.consumers.remove(consumer)
            self._unused(consumer.queue)
        return spec.Basic.CancelOk(asked.consumer_tag)

    def _ack(self, asked: spec.Basic.Ack) -> None:
        for _, message in self._settled(asked.delivery_tag, multiple=asked.multiple):
            self.broker.answering.acknowledged(message, self.host.time())

    def _reject(self, asked: spec.Basic.Reject) -> None:
        for consumer, message in self._settled(asked.delivery_tag or 0, multiple=False):
            self.broker.answering.came_back(message)
            if asked.requeue and self.broker.queues.get(consumer.queue.name) is consumer.queue:
                consumer.queue.put_back([message])
                consumer.queue.pump(self.host.time())

    def _settled(self, tag: int, *, multiple: bool) -> list[tuple[Consumer, Message]]:
        tags = [one for one in self._unacked if one <= tag] if multiple else [tag] if tag in self._unacked else []
        if not tags:
            self.host.broken(f"it has settled delivery {tag}, which it does not have")
            raise Refused(406, f"PRECONDITION_FAILED - unknown delivery tag {tag}")
        settled = [self._unacked.pop(one) for one in tags]
        for consumer, _ in settled:
            consumer.unsettled -= 1
            consumer.queue.unsettled -= 1
        for consumer, _ in settled:
            consumer.queue.pump(self.host.time())
        return settled

    # What the broker sends by itself.

    def deliver(self, consumer: Consumer, message: Message) -> None:
        """Send a message to a consumer."""
        self._tag += 1
        if not consumer.no_ack:
            self._unacked[self._tag] = consumer, message
            consumer.unsettled += 1
            consumer.queue.unsettled += 1
        delivery = spec.Basic.Deliver(consumer.tag, self._tag, message.redelivered, message.exchange, message.key)
        self.connection.send_message(self.number, delivery, message)

    def deliver_direct(self, message: Message) -> None:
        """Send a direct reply."""
        self._tag += 1
        self.connection.send_message(
            self.number, spec.Basic.Deliver("direct", self._tag, False, "", message.key), message
        )

    def consumer_cancelled(self, consumer: Consumer) -> None:
        """Called when the queue of a consumer is gone."""
        self.consumers.pop(consumer.tag, None)
        self.send(spec.Basic.Cancel(consumer.tag, True))


_METHODS: dict[type, Callable[[BrokerChannel, Any], Any]] = {
    spec.Exchange.Declare: BrokerChannel._declare_exchange,
    spec.Exchange.Bind: BrokerChannel._bind_exchange,
    spec.Queue.Declare: BrokerChannel._declare_queue,
    spec.Queue.Bind: BrokerChannel._bind_queue,
    spec.Queue.Unbind: BrokerChannel._unbind_queue,
    spec.Queue.Delete: BrokerChannel._delete_queue,
    spec.Basic.Qos: BrokerChannel._qos,
    spec.Basic.Consume: BrokerChannel._consume,
    spec.Basic.Cancel: BrokerChannel._cancel,
    spec.Basic.Ack: BrokerChannel._ack,
    spec.Basic.Reject: BrokerChannel._reject,
    spec.Confirm.Select: BrokerChannel._select,
}
