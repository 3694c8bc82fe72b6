"""Exchanges on RabbitMQ, and all queues but those of services: their arguments and their declaration."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiormq import exceptions as amqp

from rabibridge._amqp.reply_to import DIRECT_REPLY_TO
from rabibridge._connection.error_translation import translated
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from aiormq.abc import AbstractChannel, DeliveredMessage

    from rabibridge._connection.session import Session

__all__ = [
    "declare_any_exchanges",
    "declare_cancel_queue",
    "declare_dead_letters",
    "declare_exchange",
    "declare_reply_queue",
    "declare_stream_queue",
    "unused_callback",
]

_log = get_logger(__name__)

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


async def declare_exchange(session: Session, *, needed: bool = False) -> None:
    """Declare the exchange. Without permission to declare, rely on it having been declared by another user.

    Args:
        session: the connection.
        needed: whether it is an error that it does not exist and may not be declared.

    Raises:
        ConfigurationError: the exchange exists with another type.
        ConnectionLostError: the connection is lost.
    """
    if session.exchange_declared:
        return
    await _declare_exchange(session, session.names.exchange, {}, needed=needed)
    session.exchange_declared = True


async def declare_any_exchanges(session: Session) -> bool:
    """Declare the exchanges for calls of kind ``any``; return whether they can be used.

    Raises:
        ConnectionLostError: the connection is lost.
    """
    for name, arguments in session.names.any_exchanges:
        try:
            await _declare_exchange(session, name, arguments, needed=True)
        except ConfigurationError as error:
            _log.warning(
                "%s; calls with ftype='any' do not reach the services of this worker", error,
                extra=log_fields("service.any_unbound", error=error),
            )  # fmt: skip
            return False
    return True


async def _declare_exchange(session: Session, name: str, arguments: dict[str, Any], *, needed: bool) -> None:
    kind = session.names.exchange_type
    with translated(f"the exchange {name!r} cannot be declared as {kind} and durable"):
        try:
            async with session.timeout(), session.temporary_channel() as channel:
                await channel.exchange_declare(name, exchange_type=kind, durable=True, arguments=arguments)
        except amqp.ChannelAccessRefused:  # least privilege: another user must have declared it
            if needed and not await _exchange_exists(session, name):
                raise


async def _exchange_exists(session: Session, name: str) -> bool:
    """Tell whether an exchange exists, as far as the broker tells this user."""
    async with session.timeout(), session.temporary_channel() as channel:
        try:
            await channel.exchange_declare(name, passive=True)
        except amqp.ChannelNotFoundEntity:
            return False
        except amqp.ChannelAccessRefused:
            return True
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
    name = session.names.dead_letters
    with translated(f"the queue {name!r} cannot be declared"):
        async with session.timeout(), session.temporary_channel() as channel:
            # An operator has chosen other limits, or declares it for workers that may not.
            with suppress(amqp.ChannelPreconditionFailed, amqp.ChannelAccessRefused):
                await channel.queue_declare(name, durable=True, arguments=session.names.dead_letters_arguments)
