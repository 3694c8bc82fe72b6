"""Warns of servers that drop calls when their memory is full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hiredis

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger

if TYPE_CHECKING:
    from rabibridge_redis._session.session import Session

__all__ = ["EvictionCheck"]

_log = get_logger(__name__)
_POLICY = "maxmemory_policy:"


class EvictionCheck:
    """Asks each server that a worker serves from, once, what it does when its memory is full."""

    def __init__(self, name: str) -> None:
        """Ask nothing yet; ``name`` is used in the log."""
        self._name = name
        self._asked: Session | None = None
        self._warned = set[str]()

    def look(self, session: Session) -> None:
        """Ask the server of a session, without waiting for the answer; without effect if that was done."""
        if session is not self._asked:
            self._asked = session
            session.commands.send(self._told, session, "INFO", "memory")

    def _told(self, session: Session, answer: Any) -> None:
        if isinstance(answer, hiredis.ReplyError):
            _log.debug(
                "%s: the server does not tell its maxmemory-policy: %s", self._name, answer,
                extra=log_fields("broker.policy_unknown", instance=self._name, peer=session.endpoint),
            )  # fmt: skip
            return
        lines = (answer if isinstance(answer, bytes) else bytes(answer)).decode("utf-8", "replace").splitlines()
        policy = next((line.removeprefix(_POLICY) for line in lines if line.startswith(_POLICY)), "noeviction")
        at = str(session.endpoint)
        if policy != "noeviction" and at not in self._warned:
            self._warned.add(at)
            _log.warning(
                "%s: the maxmemory-policy of %s is %s: when its memory is full, calls and queues vanish without an "
                "error. Set it to noeviction: then calls wait within their timeout instead", self._name, at, policy,
                extra=log_fields("broker.evicts", instance=self._name, peer=at),
            )  # fmt: skip
