"""Exchanges and queues on RabbitMQ: what they are called, how they are declared, and what a refusal means."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiormq import exceptions as amqp

from rabibridge._amqp.durations import milliseconds
from rabibridge._connection.error_translation import translated
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel, DeliveredMessage

    from rabibridge._connection.session import Session
    from rabibridge_core.transport import ServiceQueue

__all__ = [
    "CANCEL_PREFIX",
    "DEAD_LETTERS",
    "DIRECT_REPLY_TO",
    "EXCHANGE",
    "declare_cancel_queue",
    "declare_dead_letters",
    "declare_exchange",
    "declare_queue",
    "declare_reply_queue",
    "never_called",
]

EXCHANGE = b"rpc"
"""The direct, durable exchange that requests go to."""

DEAD_LETTERS = b"rpc.dead"
"""The durable queue of what could not be answered, for an operator to look at."""

_DEAD_LETTERS_ARGUMENTS: dict[str, Any] = {
    "x-max-length-bytes": 256 * 2**20,
    "x-overflow": "drop-head",
    "x-message-ttl": 7 * 24 * 3600 * 1000,
    "x-queue-type": "classic",
}
CANCEL_PREFIX = "cancel:"
"""In front of the routing key of a service: the key that cancels of its calls are sent to."""
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
_CANCELS_KEPT = 60_000
"""How long the queue of a channel that is gone holds cancels, in milliseconds, while its connection stands."""
_BACKSTOP = 5
"""How many more times than we count a quorum queue gives a request out before it drops it by itself."""

_INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<argument>[^']+)'.*?received (?:the value )?'?(?P<ours>.*?)'?(?: of type '\w+')?"
    r" but current is (?:the value )?'?(?P<theirs>.*?)'?(?: of type '\w+')?$"
)
_OUR_NAMES = {
    "x-max-length": "queue_size",
    "x-message-ttl": "timeout, in milliseconds",
    "x-queue-type": "queue_type",
    "x-delivery-limit": f"redelivery_limit, and {_BACKSTOP} more",
}


async def never_called(message: DeliveredMessage) -> None:
    """Be the consumer callback that aiormq wants: the deliveries go to a lane, none arrives here."""
    raise AssertionError(f"a delivery went past its lane: {message!r}")


async def declare_exchange(session: Session) -> None:
    """Make sure that the exchange is there; a user who may not declare it relies on somebody else having done so.

    Raises:
        ConfigurationError: it exists as another type.
        ConnectionLostError: the connection is gone.
    """
    if session.exchange_declared:
        return
    with translated("the exchange 'rpc' cannot be declared as direct and durable"):
        async with session.in_time(), session.channel() as channel:
            with suppress(amqp.ChannelAccessRefused):  # least privilege: somebody else has to have declared it
                await channel.exchange_declare(EXCHANGE.decode(), exchange_type="direct", durable=True)
    session.exchange_declared = True


async def declare_reply_queue(channel: AbstractChannel, *, direct: bool) -> bytes:
    """Consume replies on the channel and return what callers give as reply-to.

    They come through a queue for this connection alone, or, ``direct``, through RabbitMQ's pseudo-queue, which takes no
    queue and no permission; it holds nothing, and drops what comes after the channel is gone.
    """
    if direct:
        queue = DIRECT_REPLY_TO
    else:
        declared = await channel.queue_declare("", exclusive=True)
        assert declared.queue is not None
        queue = declared.queue
    await channel.basic_consume(queue, never_called, no_ack=True)
    return queue.encode()


async def declare_cancel_queue(channel: AbstractChannel) -> str:
    """Consume cancels on the channel from a queue for this connection alone, and return its name."""
    declared = await channel.queue_declare("", exclusive=True, arguments={"x-expires": _CANCELS_KEPT})
    assert declared.queue is not None
    await channel.basic_consume(declared.queue, never_called, no_ack=True)
    return declared.queue


async def declare_dead_letters(session: Session) -> None:
    """Make sure that the dead-letter queue is there; one that exists is used as it is.

    Raises:
        ConfigurationError: the broker refuses.
        ConnectionLostError: the connection is gone.
    """
    name = DEAD_LETTERS.decode()
    with translated(f"the queue {name!r} cannot be declared"):
        async with session.in_time(), session.channel() as channel:
            with suppress(amqp.ChannelPreconditionFailed):  # an operator has chosen other limits
                await channel.queue_declare(name, durable=True, arguments=_DEAD_LETTERS_ARGUMENTS)


async def declare_queue(session: Session, queue: ServiceQueue) -> None:
    """Declare a service queue and bind it.

    Raises:
        ConfigurationError: the broker refuses, for one because the queue exists with other arguments.
        ConnectionLostError: the connection is gone.
    """
    await declare_exchange(session)
    with translated(f"the queue {queue.name!r} cannot be declared"):
        async with session.in_time():
            try:
                await _declare_and_bind(session, queue)
            except amqp.ChannelPreconditionFailed as error:
                if not queue.redeclare:
                    raise _different(queue, error) from error
                async with session.channel() as channel:
                    await channel.queue_delete(queue.name)
                await _declare_and_bind(session, queue)


async def _declare_and_bind(session: Session, queue: ServiceQueue) -> None:
    async with session.channel() as channel:
        await channel.queue_declare(queue.name, durable=True, arguments=_arguments(queue))
        for key in queue.routing_keys:
            await channel.queue_bind(queue.name, EXCHANGE.decode(), key)


def _arguments(queue: ServiceQueue) -> dict[str, Any]:
    # Just what RabiBridge 0.1.2 declares, so that its workers and ours can serve one queue.
    arguments: dict[str, Any] = {"x-overflow": "reject-publish"}
    if queue.queue_size is not None:
        arguments["x-max-length"] = queue.queue_size
    if queue.timeout is not None:
        arguments["x-message-ttl"] = milliseconds(queue.timeout)
    if queue.queue_type != "classic" and queue.redelivery_limit is not None:
        arguments["x-delivery-limit"] = queue.redelivery_limit + _BACKSTOP
    # Always: a virtual host may have another type for queues that do not say. To RabbitMQ, a classic queue that says so
    # is the same as one that does not.
    arguments["x-queue-type"] = queue.queue_type
    return arguments


def _different(queue: ServiceQueue, error: amqp.ChannelPreconditionFailed) -> ConfigurationError:
    text = " ".join(str(argument) for argument in error.args)
    found = _INEQUIVALENT.search(text)
    if found is None:
        return ConfigurationError(f"the queue {queue.name!r} cannot be declared: {text}")
    argument = found["argument"]
    ours = f" ({_OUR_NAMES[argument]})" if argument in _OUR_NAMES else ""
    here, there = (
        "classic" if argument == "x-queue-type" and value == "none" else value
        for value in (found["ours"], found["theirs"])
    )
    return ConfigurationError(
        f"the queue {queue.name!r} exists with another {argument}{ours}: there {there}, here {here}. Register the "
        "service with the limits that the queue has, or register it with re_register=True to delete the queue with the "
        "calls that wait in it, or delete the queue on the broker"
    )
