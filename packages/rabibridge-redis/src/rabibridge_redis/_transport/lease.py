"""Extends the lease of a session, and looks whether other workers of its queues have died."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import hiredis

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_redis._resp.refusals import is_blocked
from rabibridge_redis._transport.server_clock import ServerClock

if TYPE_CHECKING:
    from rabibridge_redis._session.session import Session
    from rabibridge_redis._transport.consumer import RedisConsumer

__all__ = ["LeaseHolder", "keep_lease"]

_log = get_logger(__name__)
_NO_QUEUE, _MORE_TO_DO, _LEASE_ENDED = -1, 0, -2
_INTERVAL = 1.0
"""How often a worker does both, in seconds. One worker of a queue looks in that time, whichever is first."""
_OFTENER = 4
"""A client that makes calls extends its lease so many times as often as an idle one: then it may stand still longer."""


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

    def lease_ended(self, why: str = ...) -> None:
        """Called when others may have taken over what the session holds; ``why``: if that is known."""
        ...


async def keep_lease(holder: LeaseHolder) -> None:
    """Do it as long as there is a session: every second for a worker, seldom for a client, which serves no queue."""
    clock, its_session = ServerClock(), None
    while (session := holder.session) is not None:
        if session is not its_session:
            clock, its_session = ServerClock(), session  # perhaps of another server
        serving = {consumer.spec.name: consumer for consumer in holder.consumers if consumer.live}
        _look_after(_Look(holder, session, clock, serving))
        waited, sent = 0.0, session.commands.sent
        while session.error is None and waited < _pause(holder, session, sent):
            with suppress(TimeoutError):  # a client may become a worker meanwhile, which looks at once
                async with asyncio.timeout(_INTERVAL):
                    await session.lost.wait()
            waited += _INTERVAL
            session.check_silence(_INTERVAL)


def _pause(holder: LeaseHolder, session: Session, sent: int) -> float:
    if holder.consumers:
        return _INTERVAL
    return session.pause if session.commands.sent == sent else session.pause / _OFTENER


class _Look(NamedTuple):
    holder: LeaseHolder
    session: Session
    clock: ServerClock
    serving: dict[str, RedisConsumer]


def _look_after(look: _Look) -> None:
    session, sent_at = look.session, asyncio.get_running_loop().time()
    session.run(
        "maintain", _maintained, (look, sent_at), session.token, session.lease_ms, int(_INTERVAL * 900), *look.serving
    )


def _maintained(context: tuple[_Look, float], reply: Any) -> None:
    look, sent_at = context
    holder, session, clock, serving = look
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
        return
    now_ms, *states = reply
    why = _clock_set(holder, session, clock.step(sent_at, asyncio.get_running_loop().time(), now_ms / 1000))
    if states == [_LEASE_ENDED]:
        holder.lease_ended(*why)
        return
    for consumer, state in zip(serving.values(), states, strict=True):
        if state == _NO_QUEUE:
            holder.queue_gone(consumer)
    if _MORE_TO_DO in states:
        _look_after(look)


def _clock_set(holder: LeaseHolder, session: Session, step: float) -> tuple[str, ...]:
    """Log that the clock of the server was set, if it was; return that text, or nothing."""
    if not step:
        return ()
    what = f"the clock of {session.endpoint} was set {'forward' if step > 0 else 'back'} by {abs(step):.1f} s"
    _log.warning(
        "%s: %s: calls that wait there expire %s",
        holder.name, what, "too early, and leases end" if step > 0 else "too late",
        extra=log_fields("broker.clock_set", instance=holder.name, peer=session.endpoint, duration=step),
    )  # fmt: skip
    return (what,)
