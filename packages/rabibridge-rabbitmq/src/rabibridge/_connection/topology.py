"""Exchanges on RabbitMQ, and all queues but those of services: their names, their arguments and their declaration."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiormq import exceptions as amqp

from rabibridge._amqp.reply_to import DIRECT_REPLY_TO
from rabibridge._connection.error_translation import translated
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel, DeliveredMessage

    from rabibridge._connection.session import Session

__all__ = [
    "ANY_EXCHANGE",
    "ANY_SECOND_EXCHANGE",
    "CANCEL_PREFIX",
    "DEAD_LETTERS",
    "EXCHANGE",
    "SERVER_NAMED",
    "STREAM_PREFIX",
    "declare_any_exchanges",
    "declare_cancel_queue",
    "declare_dead_letters",
    "declare_exchange",
    "declare_reply_queue",
    "declare_stream_queue",
    "unused_callback",
]

_log = get_logger(__name__)

EXCHANGE = b"rpc"
"""The direct, durable exchange to which requests are published."""

ANY_EXCHANGE = "rpc_any"
"""The exchange to which ``rpc`` passes calls of kind ``any``. It routes them to the queue of the async service of that
name, or, if there is none, to :data:`ANY_SECOND_EXCHANGE`, its alternate exchange."""

ANY_SECOND_EXCHANGE = "rpc_any_sync"
"""The exchange that routes calls of kind ``any`` to the queues of sync services."""

DEAD_LETTERS = b"rpc.dead"
"""The durable queue of dead-lettered requests, for an operator to inspect."""

_DEAD_LETTERS_ARGUMENTS: dict[str, Any] = {
    "x-max-length-bytes": 256 * 2**20,
    "x-overflow": "drop-head",
    "x-message-ttl": 7 * 24 * 3600 * 1000,
    "x-queue-type": "classic",
}
_ANY_EXCHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    (ANY_SECOND_EXCHANGE, {}),
    (ANY_EXCHANGE, {"alternate-exchange": ANY_SECOND_EXCHANGE}),
)
CANCEL_PREFIX = "cancel:"
"""Prefix of a service's routing key; cancellations of its calls are published to the resulting key."""
STREAM_PREFIX = b"stream:"
"""Prefix of the keys to which callers publish further messages of calls; the name of no service contains a colon."""
SERVER_NAMED = b"amq.gen-"
"""Prefix of queue names that the broker generates. Unlike other names, they are never used again."""
_CANCEL_QUEUE_ARGUMENTS: dict[str, Any] = {
    "x-expires": 60_000,  # milliseconds that the queue outlives its channel, if the connection stays open
    # Anybody who may call can publish cancellations, and a worker that stands still does not read them. Refusing a new
    # one instead of dropping an old one applies before the delivery to a consumer, which would bypass the limits.
    "x-max-length": 1024,
    "x-max-length-bytes": 2**20,
    "x-overflow": "reject-publish",
}
_STREAM_QUEUE_MESSAGES = 32_768
_STREAM_QUEUE_SIZE_MIN = 64 * 2**20


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


async def declare_any_exchanges(session: Session) -> bool:
    """Declare the exchanges for calls of kind ``any``; return whether they can be used.

    Raises:
        ConnectionLostError: the connection is lost.
    """
    for name, arguments in _ANY_EXCHANGES:
        try:
            with translated(f"the exchange {name!r} cannot be declared"):
                async with session.timeout(), session.temporary_channel() as channel:
                    with suppress(amqp.ChannelAccessRefused):  # another user may have declared it
                        await channel.exchange_declare(name, exchange_type="direct", durable=True, arguments=arguments)
        except ConfigurationError as error:
            _log.warning("%s; calls with ftype='any' do not reach the services of this worker", error)
            return False
    return True


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


async def declare_stream_queue(channel: AbstractChannel, max_body: int) -> str:
    """Declare an exclusive queue for further messages of calls, consume from it, and return its name.

    Callers send no more than the worker allows them, so that its limits are met only if the worker stands still, or if
    somebody breaks the rules. A message of ``max_body`` bytes, the largest that the worker accepts, always fits in.
    """
    arguments: dict[str, Any] = {
        "x-max-length": _STREAM_QUEUE_MESSAGES,
        "x-max-length-bytes": max(_STREAM_QUEUE_SIZE_MIN, 2 * max_body),
        "x-overflow": "reject-publish",
    }
    declared = await channel.queue_declare("", exclusive=True, auto_delete=True, arguments=arguments)
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
