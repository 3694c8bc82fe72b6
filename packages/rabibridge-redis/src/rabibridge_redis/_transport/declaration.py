"""Declares queues: limits, routing keys, and what becomes of the queue of a service's other kind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import hiredis

from rabibridge_core._protocol.broker_texts import left_behind, limits_differ, served_elsewhere
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_redis._resp.refusals import is_blocked, permission_error

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any

    from rabibridge_core.transport import ServiceQueue
    from rabibridge_redis._session.session import Session

__all__ = ["declare", "delete_unused", "in_time", "look_at_queue"]

_log = get_logger(__name__)
_RETRY = 0.25  # seconds until a server that has no memory or disk is asked again


async def in_time(session: Session, setting_up: Awaitable[None]) -> None:
    """Wait until a new session is set up: while that is not done, nobody else notices that it has fallen silent.

    Raises:
        ConnectionLostError: it takes too long.
    """
    limit = session.attempt_timeout
    try:
        async with asyncio.timeout(limit):
            await setting_up
    except TimeoutError as error:
        why = f"{session.endpoint} has not answered within {limit:g} s while queues were declared"
        raise ConnectionLostError(why, executed=False) from error


async def declare(session: Session, queue: ServiceQueue) -> None:
    """Declare a queue and its routing keys.

    Raises:
        ConfigurationError: it exists with other limits, or the server refuses.
        ConnectionLostError: the session is lost.
    """
    shared = list(queue.any_keys)
    keys = [*shared, *(key for key in queue.routing_keys if key not in shared)]
    ttl_ms = "" if queue.timeout is None else int(queue.timeout * 1000)
    what, size, ttl, number = await _declared(
        session, queue.name, repr(queue.queue_size), repr(queue.timeout), ttl_ms,
        "1" if queue.redeclare else "0", "1" if queue.preferred else "0", queue.other_queue or "", len(shared), *keys,
    )  # fmt: skip
    if what == b"left":
        _log.warning(
            "%s",
            left_behind(queue.name, queue.other_queue or "", number),
            extra=log_fields("queue.left_behind", queue=queue.other_queue, count=number),
        )
    if what in (b"differs", b"served"):
        known = {"queue_size": size.decode(), "timeout": ttl.decode()}
        difference = ", ".join(
            f"{limit} is {value} on the broker, {getattr(queue, limit)!r} here"
            for limit, value in known.items()
            if value != repr(getattr(queue, limit))
        )
        if what == b"served":
            raise ConfigurationError(served_elsewhere(queue.name, difference, number))
        raise ConfigurationError(limits_differ(queue.name, difference))


async def _declared(session: Session, queue: str, *arguments: str | int) -> Any:
    said = False
    while True:
        try:
            return await session.ask("declare", queue, *arguments)
        except hiredis.ReplyError as error:
            if not is_blocked(error):
                raise permission_error(error, f"to declare the queue {queue!r}") from error
            if not said:
                _log.warning(
                    "the queue %r is declared when the Redis server accepts new keys: %s", queue, error,
                    extra=log_fields("queue.delayed", queue=queue, error=error),
                )  # fmt: skip
            said = True
        await asyncio.sleep(_RETRY)  # nothing tells when it does


async def look_at_queue(session: Session | None, name: str, queue: str) -> tuple[int, int] | None:
    """Return how many consumers and waiting requests a queue has; ``None`` if the server does not tell.

    Raises:
        ConnectionLostError: there is no session; ``name`` is that of the connection.
    """
    if session is None:
        raise ConnectionLostError(f"{name} has no connection", executed=False)
    try:
        found = await asyncio.shield(asyncio.ensure_future(session.ask("look", queue)))
    except hiredis.ReplyError:
        return None
    return None if found == -1 else (found[0], found[1])


async def delete_unused(session: Session, queue: ServiceQueue) -> bool:
    """Delete a queue unless it has consumers or waiting requests; return whether it is gone.

    Raises:
        ConfigurationError: the server refuses.
        ConnectionLostError: the session is lost.
    """
    try:
        return bool(await session.ask("delete", queue.name, "1"))
    except hiredis.ReplyError as error:
        raise permission_error(error, f"to delete the queue {queue.name!r}") from error
