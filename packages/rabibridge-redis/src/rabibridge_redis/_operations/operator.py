"""What operators do on Redis."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from rabibridge_core._security.setup import guard_from
from rabibridge_redis._operations.dead_letters import DeadLetters
from rabibridge_redis._operations.doctor import examine
from rabibridge_redis._operations.permissions import acl_rules
from rabibridge_redis._operations.queues import Queues
from rabibridge_redis._operations.sessions import operator_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from rabibridge_core.operations import Examination, PermissionRequest, Report
    from rabibridge_core.settings import Settings

__all__ = ["RedisOperator"]


class RedisOperator:
    """An ``Operator`` for Redis."""

    def __init__(self, settings: Settings) -> None:
        """Use the servers of ``settings``."""
        self._settings = settings

    async def examine(self, what: Examination, findings: Report) -> None:
        """Find out what is wrong between here and the server."""
        await examine(self._settings, what, findings)

    @asynccontextmanager
    async def dead_letters(self, *, beside_consumers: bool) -> AsyncIterator[DeadLetters]:
        """Connect to the dead letters. Nobody consumes them, so that ``beside_consumers`` has no effect."""
        guard = guard_from(self._settings, "dead letters")
        async with operator_session(self._settings, "dead") as session:
            yield DeadLetters(session, guard=guard)

    @asynccontextmanager
    async def queues(self) -> AsyncIterator[Queues]:
        """Connect to the queues."""
        async with operator_session(self._settings, "queue") as session:
            yield Queues(session)

    def permissions(self, request: PermissionRequest) -> tuple[Sequence[str], Any]:
        """Return the fewest permissions that a user needs: as a command, and as its rules."""
        rules = acl_rules(request.role, self._settings.namespace, request.services)
        command = " ".join(["ACL SETUSER", request.user, "on", "'>PASSWORD'", *(f"'{rule}'" for rule in rules)])
        return [f"redis-cli {command}"], {"user": request.user, "rules": rules}
