"""The names of exchanges and queues on the broker, with and without a namespace.

Without one, the names and the types are those of all versions. In a namespace every name begins with it and a colon, so
that a regular expression tells it from all others, and the exchanges are topic exchanges: their permissions can be
limited to routing keys, both for publishing and for binding, which RabbitMQ offers for that type alone. No routing key
of ours has a word ``*`` or ``#``, so that they route as direct exchanges do.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from rabibridge_core._protocol.naming import in_namespace, split_namespace
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from rabibridge_core.transport import ServiceQueue

__all__ = ["CANCEL_PREFIX", "DEAD_LETTERS", "SERVER_NAMED", "STREAM_PREFIX", "Names"]

CANCEL_PREFIX: Final = "cancel:"
"""Prefix of a service's routing key; cancellations of its calls are published to the resulting key."""
STREAM_PREFIX: Final = b"stream:"
"""Prefix of the keys to which callers publish further messages of calls; the name of no service contains a colon."""
SERVER_NAMED: Final = b"amq.gen-"
"""Prefix of queue names that the broker generates. Unlike other names, they are never used again."""
DEAD_LETTERS: Final = "rpc.dead"
"""The name of the queue for dead letters, without a namespace."""
_NAME_MAX = 255
_DEAD_LETTERS_ARGUMENTS: dict[str, Any] = {
    "x-max-length-bytes": 256 * 2**20,
    "x-overflow": "drop-head",
    "x-message-ttl": 7 * 24 * 3600 * 1000,
    "x-queue-type": "classic",
}


class Names:
    """The names of one namespace.

    Attributes:
        namespace: the namespace; empty: none.
        exchange: the durable exchange to which requests are published.
        exchange_type: the type of all exchanges.
        any_exchange: the exchange to which :attr:`exchange` passes calls of kind ``any``. It routes them to the queue
            of the async service of that name, or, if there is none, to :attr:`any_second_exchange`, its alternate
            exchange.
        any_second_exchange: the exchange that routes calls of kind ``any`` to the queues of sync services.
        dead_letters: the durable queue of dead-lettered requests, for an operator to inspect.
    """

    __slots__ = (
        "any_exchange",
        "any_second_exchange",
        "dead_letters",
        "exchange",
        "exchange_bytes",
        "exchange_type",
        "namespace",
    )

    def __init__(self, namespace: str) -> None:
        """Make the names of a namespace."""
        self.namespace = namespace
        self.exchange = in_namespace("rpc", namespace)
        self.exchange_bytes = self.exchange.encode()
        self.exchange_type = "topic" if namespace else "direct"
        self.any_exchange = in_namespace("rpc_any", namespace)
        self.any_second_exchange = in_namespace("rpc_any_sync", namespace)
        self.dead_letters = in_namespace(DEAD_LETTERS, namespace)

    @property
    def any_exchanges(self) -> tuple[tuple[str, dict[str, Any]], ...]:
        """The exchanges for calls of kind ``any`` and their arguments, in the order in which to declare them."""
        second = self.any_second_exchange
        return (second, {}), (self.any_exchange, {"alternate-exchange": second})

    @property
    def dead_letters_arguments(self) -> dict[str, Any]:
        """The arguments of :attr:`dead_letters`."""
        return dict(_DEAD_LETTERS_ARGUMENTS)

    def queue(self, name: str) -> str:
        """Return the name that a queue has on the broker."""
        return in_namespace(name, self.namespace)

    def operated_queue(self, name: str) -> str:
        """Return the queue that an operator means: a name without a namespace is that of a queue in this one."""
        return name if split_namespace(name)[0] else self.queue(name)

    def service_queue(self, queue: ServiceQueue) -> ServiceQueue:
        """Return the queue of a service as it is named on the broker.

        Raises:
            ConfigurationError: the name is too long.
        """
        if not self.namespace:
            return queue
        name = self.queue(queue.name)
        if len(name.encode()) > _NAME_MAX:
            raise ConfigurationError(
                f"the name of the queue {name!r} has {len(name.encode())} bytes, and AMQP allows {_NAME_MAX}: shorten "
                "the namespace, the name of the service or that of its class"
            )
        other = queue.other_queue
        return replace(queue, name=name, other_queue=None if other is None else self.queue(other))
