"""Extends the lease of a session, and looks whether other workers of its queues have died."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import hiredis

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_redis._resp.refusals import is_blocked

if TYPE_CHECKING:
    from rabibridge_redis._session.session import Session
    from rabibridge_redis._transport.consumer import RedisConsumer

__all__ = ["LeaseHolder", "keep_lease"]

_log = get_logger(__name__)
_NO_QUEUE, _MORE_TO_DO, _LEASE_ENDED = -1, 0, -2
_INTERVAL = 1.0
"""How often a worker does both, in seconds. One worker of a queue looks in that time, whichever is first."""


class LeaseHolder(Protocol):
    """The transport that has the session.

    Attributes:
        name: its name, used in the log.
    """

    name: str

    @property
    def session(self) -> Session | None:
        """The session; ``None`` while there is none."""
        ...

    @property
    def consumers(self) -> list[RedisConsumer]:
        """Its consumers."""
        ...

    def queue_gone(self, consumer: RedisConsumer, /) -> None:
        """Called when the queue of a consumer was deleted."""
        ...

    def lease_ended(self) -> None:
        """Called when others may have taken over what the session holds."""
        ...


async def keep_lease(holder: LeaseHolder) -> None:
    """Do it as long as there is a session: every second for a worker, seldom for a caller, who looks after no queue."""
    while (session := holder.session) is not None:
        serving = {consumer.spec.name: consumer for consumer in holder.consumers if consumer.live}
        _look_after(holder, session, serving)
        waited = 0.0
        while session.error is None and waited < (_INTERVAL if holder.consumers else session.pause):
            with suppress(TimeoutError):  # a caller may become a worker meanwhile, which looks at once
                async with asyncio.timeout(_INTERVAL):
                    await session.lost.wait()
            waited += _INTERVAL
            session.check_silence(_INTERVAL)


def _look_after(holder: LeaseHolder, session: Session, serving: dict[str, RedisConsumer]) -> None:
    context = holder, session, serving
    session.run("maintain", _maintained, context, session.token, session.lease_ms, int(_INTERVAL * 900), *serving)


def _maintained(context: tuple[LeaseHolder, Session, dict[str, RedisConsumer]], reply: Any) -> None:
    holder, session, serving = context
    if session is not holder.session:
        return
    if isinstance(reply, hiredis.ReplyError) and is_blocked(reply):
        return  # it is extended; queues are looked after once the server has room
    if isinstance(reply, hiredis.ReplyError):
        _log.warning(
            "%s: the lease cannot be extended: %s",
            holder.name,
            reply,
            extra=log_fields("lease.refused", instance=holder.name),
        )
    elif reply == _LEASE_ENDED:
        holder.lease_ended()
    else:
        for consumer, state in zip(serving.values(), reply, strict=True):
            if state == _NO_QUEUE:
                holder.queue_gone(consumer)
        if _MORE_TO_DO in reply:
            _look_after(holder, session, serving)
