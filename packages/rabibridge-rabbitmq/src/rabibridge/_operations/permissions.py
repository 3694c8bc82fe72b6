"""Tries out permissions without changing anything.

RabbitMQ tells nobody which permissions a user has, but it checks them before anything else. So each trial asks for
something that is refused in any case, for a reason that differs if the permission is there: a queue with invalid
arguments, the removal of a binding that does not exist, a consumer with an invalid priority. Each trial that is refused
writes a line to the log of the broker.
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiormq import exceptions as amqp

from rabibridge._amqp.methods import ACCESS_REFUSED
from rabibridge._connection.error_translation import translated
from rabibridge._connection.topology import unused_callback
from rabibridge._operations.letter_channel import LetterChannel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiormq.abc import AbstractChannel

    from rabibridge._connection.session import Session

__all__ = ["PermissionTrials"]

_INVALID: dict[str, Any] = {"x-max-length": -1, "x-expires": 0}
_REFUSED = re.compile(r"access to (?P<kind>queue|exchange|topic) '(?P<name>[^']*)'")


class PermissionTrials:
    """Trials of the permissions that the user of one connection has."""

    def __init__(self, session: Session, limit: float) -> None:
        """Try on ``session``; each trial takes ``limit`` seconds at most, or the connection is lost."""
        self._session = session
        self._limit = limit
        self._exchange = session.names.exchange

    async def configure(self, name: str) -> bool:
        """Tell whether a queue or an exchange of this name may be declared.

        The trial is the declaration of a queue: permissions are for names, whatever has them.
        """

        async def declare(channel: AbstractChannel) -> None:
            await channel.queue_declare(name, durable=True, arguments=_INVALID)
            await channel.queue_delete(name, if_unused=True, if_empty=True)  # no RabbitMQ comes to this

        return await self._refusal(declare) is None

    async def write(self, queue: str) -> bool:
        """Tell whether a queue may be bound."""
        return await self._unbind(queue, self._exchange) != queue

    async def read_exchange(self, exchange: str, queue: str) -> bool | None:
        """Tell whether a queue may be bound to an exchange, as far as that concerns the exchange.

        ``None``: that cannot be tried, since the queue may not be bound at all.
        """
        refused = await self._unbind(queue, exchange)
        return None if refused == queue else refused != exchange

    async def write_exchange(self, exchange: str, source: str) -> bool:
        """Tell whether an exchange may be bound to another one, as far as that concerns the first."""

        async def unbind(channel: AbstractChannel) -> None:
            await channel.exchange_unbind(destination=exchange, source=source, routing_key=_nothing())

        return await self._refusal(unbind) != exchange

    async def read(self, queue: str) -> bool:
        """Tell whether messages of a queue may be received."""

        async def consume(channel: AbstractChannel) -> None:
            await channel.basic_consume(queue, unused_callback, arguments={"x-priority": "invalid"})

        return await self._refusal(consume) is None

    async def publish(self, exchange: str) -> bool:
        """Tell whether messages may be published to an exchange. The message of this trial is in no queue."""
        channel = LetterChannel(self._session)
        await channel.open_it()
        try:
            await channel.publish(exchange.encode(), _nothing().encode(), 0, b"", b"")
        except Exception:
            if channel.close_code:  # the limits of routing keys come after the permission for the exchange
                return channel.close_code != ACCESS_REFUSED or "access to topic" in channel.close_text
            raise
        await channel.close()
        return True

    async def read_topic(self, key: str, queue: str) -> bool:
        """Tell whether a queue may be bound to the exchange of the namespace with this routing key."""

        async def unbind(channel: AbstractChannel) -> None:  # such a binding does not exist, whatever the key
            await channel.queue_unbind(queue, self._exchange, key, arguments={"rabibridge": _nothing()})

        return await self._refusal(unbind) != key

    async def own_queue(self) -> str | None:
        """Return what the user may not do with a queue that the broker names: configure, write or read; else ``None``.

        The queue is exclusive, and is deleted again.
        """
        doing = "configure"

        async def use(channel: AbstractChannel) -> None:
            nonlocal doing
            declared = await channel.queue_declare("", exclusive=True, auto_delete=True)
            assert declared.queue is not None
            doing = "read"
            await channel.basic_consume(declared.queue, unused_callback, no_ack=True)
            doing = "write"
            with suppress(amqp.ChannelNotFoundEntity):
                await channel.queue_unbind(declared.queue, self._exchange, _nothing())

        refused = await self._refusal(use)
        return doing if refused is not None and refused != self._exchange else None

    async def _unbind(self, queue: str, exchange: str) -> str | None:
        async def unbind(channel: AbstractChannel) -> None:
            await channel.queue_unbind(queue, exchange, _nothing())

        return await self._refusal(unbind)

    async def _refusal(self, trial: Callable[[AbstractChannel], Awaitable[None]]) -> str | None:
        """Return the name to which access was refused, ``None`` if it was not."""
        with translated("a permission cannot be tried"):
            try:
                async with self._session.timeout(self._limit), self._session.temporary_channel() as channel:
                    await trial(channel)
            except amqp.ChannelAccessRefused as error:
                found = _REFUSED.search(" ".join(map(str, error.args)))
                return found["name"] if found else ""
            except (amqp.ChannelPreconditionFailed, amqp.ChannelNotFoundEntity, amqp.ChannelLockedResource):
                return None
        return None


def _nothing() -> str:
    """Return a routing key that nothing is bound with."""
    return f"rabibridge-doctor-{secrets.token_hex(8)}"
