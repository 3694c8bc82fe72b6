"""Runs scripts for a consumer that must have run, also if the server has no memory or disk for it now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

import hiredis

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_redis._resp.refusals import is_blocked

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_redis._session.session import Session

__all__ = ["insist"]

_log = get_logger(__name__)
_RETRY = 0.25  # seconds until it is tried again: the server does not tell when it has room


class _Wanted(NamedTuple):
    session: Session
    needed: Callable[[], bool]
    script: str
    queue: str
    arguments: tuple[str | bytes, ...]


def insist(session: Session, needed: Callable[[], bool], script: str, queue: str, *arguments: str | bytes) -> None:
    """Run a script for a queue until the server accepts it, ``needed()`` is false, or the session is lost."""
    _run(_Wanted(session, needed, script, queue, arguments))


def _run(wanted: _Wanted) -> None:
    if wanted.needed():
        wanted.session.run(wanted.script, _has_run, wanted, wanted.queue, *wanted.arguments)


def _has_run(wanted: _Wanted, reply: Any) -> None:
    if isinstance(reply, hiredis.ReplyError) and is_blocked(reply):
        asyncio.get_running_loop().call_later(_RETRY, _run, wanted)
    elif isinstance(reply, hiredis.ReplyError):
        _log.error(
            "the server refuses what a worker of the queue %r asks for: %s", wanted.queue, reply,
            extra=log_fields("queue.refused", queue=wanted.queue),
        )  # fmt: skip
