"""Exchanges and queues on RabbitMQ: their names and arguments, their declaration, and the errors of a refusal."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiormq import exceptions as amqp

from rabibridge._amqp.durations import milliseconds
from rabibridge._amqp.reply_to import DIRECT_REPLY_TO
from rabibridge._connection.error_translation import translated
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel, DeliveredMessage

    from rabibridge._connection.session import Session
    from rabibridge_core.transport import ServiceQueue

__all__ = [
    "CANCEL_PREFIX",
    "DEAD_LETTERS",
    "EXCHANGE",
    "SERVER_NAMED",
    "declare_cancel_queue",
    "declare_dead_letters",
    "declare_exchange",
    "declare_queue",
    "declare_reply_queue",
    "unused_callback",
]

EXCHANGE = b"rpc"
"""The direct, durable exchange to which requests are published."""

DEAD_LETTERS = b"rpc.dead"
"""The durable queue of dead-lettered requests, for an operator to inspect."""

_DEAD_LETTERS_ARGUMENTS: dict[str, Any] = {
    "x-max-length-bytes": 256 * 2**20,
    "x-overflow": "drop-head",
    "x-message-ttl": 7 * 24 * 3600 * 1000,
    "x-queue-type": "classic",
}
CANCEL_PREFIX = "cancel:"
"""Prefix of a service's routing key; cancellations of its calls are published to the resulting key."""
SERVER_NAMED = b"amq.gen-"
"""Prefix of queue names that the broker generates. Unlike other names, they are never used again."""
_CANCEL_QUEUE_ARGUMENTS: dict[str, Any] = {
    "x-expires": 60_000,  # milliseconds that the queue outlives its channel, if the connection stays open
    # Anybody who may call can publish cancellations, and a worker that stands still does not read them. Refusing a new
    # one instead of dropping an old one applies before the delivery to a consumer, which would bypass the limits.
    "x-max-length": 1024,
    "x-max-length-bytes": 64 * 1024,
    "x-overflow": "reject-publish",
}
_EXTRA_DELIVERIES = 5
"""How far ``x-delivery-limit``, at which a quorum queue itself drops a request, is above our redelivery limit."""

_INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)'.*?received (?:the value )?'?(?P<ours>.*?)'?(?: of type '\w+')?"
    r" but current is (?:the value )?'?(?P<theirs>.*?)'?(?: of type '\w+')?$"
)
_SERVICE_LIMITS = {
    "x-max-length": "queue_size",
    "x-message-ttl": "timeout in milliseconds",
    "x-queue-type": "queue_type",
    "x-delivery-limit": f"redelivery_limit + {_EXTRA_DELIVERIES}",
}


async def unused_callback(message: DeliveredMessage) -> None:
    """Serve as the consumer callback that aiormq requires: all deliveries go to a fast channel instead."""
    raise AssertionError(f"aiormq received a delivery that belongs to a fast channel: {message!r}")


async def declare_exchange(session: Session) -> None:
    """Declare the exchange. Without permission to declare, rely on it having been declared by another user.

    Raises:
        ConfigurationError: the exchange exists with another type.
        ConnectionLostError: the connection is lost.
    """
    if session.exchange_declared:
        return
    with translated("the exchange 'rpc' cannot be declared as direct and durable"):
        async with session.timeout(), session.temporary_channel() as channel:
            with suppress(amqp.ChannelAccessRefused):  # least privilege: another user must have declared it
                await channel.exchange_declare(EXCHANGE.decode(), exchange_type="direct", durable=True)
    session.exchange_declared = True


async def declare_reply_queue(channel: AbstractChannel, *, direct: bool) -> bytes:
    """Consume replies on the channel and return the ``reply_to`` of requests.

    Replies arrive through an exclusive queue or, if ``direct``, through RabbitMQ's pseudo-queue, which needs neither a
    queue nor a permission but drops replies that arrive after the channel is closed.
    """
    if direct:
        queue = DIRECT_REPLY_TO.decode()
    else:
        declared = await channel.queue_declare("", exclusive=True)
        assert declared.queue is not None
        queue = declared.queue
    await channel.basic_consume(queue, unused_callback, no_ack=True)
    return queue.encode()


async def declare_cancel_queue(channel: AbstractChannel) -> str:
    """Declare an exclusive queue for cancellations, consume from it on the channel, and return its name."""
    declared = await channel.queue_declare("", exclusive=True, arguments=_CANCEL_QUEUE_ARGUMENTS)
    assert declared.queue is not None
    await channel.basic_consume(declared.queue, unused_callback, no_ack=True)
    return declared.queue


async def declare_dead_letters(session: Session) -> None:
    """Declare the dead-letter queue; an existing one is used whatever its limits.

    Raises:
        ConfigurationError: the broker refuses.
        ConnectionLostError: the connection is lost.
    """
    name = DEAD_LETTERS.decode()
    with translated(f"the queue {name!r} cannot be declared"):
        async with session.timeout(), session.temporary_channel() as channel:
            with suppress(amqp.ChannelPreconditionFailed):  # an operator has chosen other limits
                await channel.queue_declare(name, durable=True, arguments=_DEAD_LETTERS_ARGUMENTS)


async def declare_queue(session: Session, queue: ServiceQueue) -> None:
    """Declare a service queue and bind it.

    Raises:
        ConfigurationError: the broker refuses, for example because the queue exists with different arguments.
        ConnectionLostError: the connection is lost.
    """
    await declare_exchange(session)
    with translated(f"the queue {queue.name!r} cannot be declared"):
        async with session.timeout():
            try:
                await _declare_and_bind(session, queue)
            except amqp.ChannelPreconditionFailed as error:
                if not queue.redeclare:
                    raise _inequivalent(queue, error) from error
                async with session.temporary_channel() as channel:
                    await channel.queue_delete(queue.name)
                await _declare_and_bind(session, queue)


async def _declare_and_bind(session: Session, queue: ServiceQueue) -> None:
    async with session.temporary_channel() as channel:
        await channel.queue_declare(queue.name, durable=True, arguments=_arguments(queue))
        for key in queue.routing_keys:
            await channel.queue_bind(queue.name, EXCHANGE.decode(), key)


def _arguments(queue: ServiceQueue) -> dict[str, Any]:
    # The same arguments as RabiBridge 0.1.2 declares, so that its workers and ours can serve the same queue.
    arguments: dict[str, Any] = {"x-overflow": "reject-publish"}
    if queue.queue_size is not None:
        arguments["x-max-length"] = queue.queue_size
    if queue.timeout is not None:
        arguments["x-message-ttl"] = milliseconds(queue.timeout)
    if queue.queue_type != "classic" and queue.redelivery_limit is not None:
        arguments["x-delivery-limit"] = queue.redelivery_limit + _EXTRA_DELIVERIES
    # Always set: a virtual host may have another default type. RabbitMQ considers an explicit "classic" equivalent to
    # no type.
    arguments["x-queue-type"] = queue.queue_type
    return arguments


def _inequivalent(queue: ServiceQueue, error: amqp.ChannelPreconditionFailed) -> ConfigurationError:
    text = " ".join(str(argument) for argument in error.args)
    found = _INEQUIVALENT.search(text)
    if found is None:
        return ConfigurationError(f"the queue {queue.name!r} cannot be declared: {text}")
    argument = found["argument"]
    limit = f" ({_SERVICE_LIMITS[argument]})" if argument in _SERVICE_LIMITS else ""
    requested, existing = (
        "classic" if argument == "x-queue-type" and value == "none" else value
        for value in (found["ours"], found["theirs"])
    )
    return ConfigurationError(
        f"the queue {queue.name!r} exists with another {argument}{limit}: {existing} on the broker, {requested} here. "
        "Register the service with the limits of the queue, or register it with re_register=True to delete the queue "
        "and the calls that wait in it, or delete the queue on the broker"
    )
