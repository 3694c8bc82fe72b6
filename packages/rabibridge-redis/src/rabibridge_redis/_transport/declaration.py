"""Declares queues: limits, routing keys, and what becomes of the queue of a service's other kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hiredis

from rabibridge_core._protocol.broker_texts import left_behind, limits_differ, served_elsewhere
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_redis._resp.refusals import ends_session, permission_error

if TYPE_CHECKING:
    from rabibridge_core.transport import ServiceQueue
    from rabibridge_redis._session.session import Session

__all__ = ["declare", "delete_unused"]

_log = get_logger(__name__)


async def declare(session: Session, queue: ServiceQueue) -> None:
    """Declare a queue and its routing keys.

    Raises:
        ConfigurationError: it exists with other limits, or the server refuses.
        ConnectionLostError: the session is lost.
    """
    shared = list(queue.any_keys)
    keys = [*shared, *(key for key in queue.routing_keys if key not in shared)]
    ttl_ms = "" if queue.timeout is None else int(queue.timeout * 1000)
    try:
        what, size, ttl, number = await session.ask(
            "declare", queue.name, repr(queue.queue_size), repr(queue.timeout), ttl_ms,
            "1" if queue.redeclare else "0", "1" if queue.preferred else "0", queue.other_queue or "", len(shared),
            *keys,
        )  # fmt: skip
    except hiredis.ReplyError as error:
        if ends_session(error):
            raise ConnectionLostError(f"{session.endpoint}: {error}", executed=False) from error
        raise permission_error(error, f"to declare the queue {queue.name!r}") from error
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
