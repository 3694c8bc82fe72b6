"""What operators do on RabbitMQ."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from rabibridge._operations.dead_letters import DeadLetters
from rabibridge._operations.doctor import examine
from rabibridge._operations.operator_session import operator_session
from rabibridge._operations.permission_sets import names_in, permission_set
from rabibridge._operations.service_queues import OperatedQueues
from rabibridge.settings import rabbitmq_settings
from rabibridge_core._security.setup import guard_from

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from rabibridge_core.operations import Examination, PermissionRequest, Report
    from rabibridge_core.settings import Settings

__all__ = ["RabbitMQOperator"]


class RabbitMQOperator:
    """An ``Operator`` for RabbitMQ."""

    def __init__(self, settings: Settings) -> None:
        """Use the brokers of ``settings``."""
        self._settings = settings

    async def examine(self, what: Examination, findings: Report) -> None:
        """Find out what is wrong between here and the broker."""
        await examine(self._settings, what, findings)

    @asynccontextmanager
    async def dead_letters(self, *, beside_consumers: bool) -> AsyncIterator[DeadLetters]:
        """Connect to the dead letters."""
        guard = guard_from(self._settings, "dead letters")
        async with operator_session(self._settings, "dead") as session:
            yield DeadLetters(session, guard=guard, beside_consumers=beside_consumers)

    @asynccontextmanager
    async def queues(self) -> AsyncIterator[OperatedQueues]:
        """Connect to the queues."""
        async with operator_session(self._settings, "queue") as session:
            yield OperatedQueues(session)

    def permissions(
        self,
        request: PermissionRequest,
        *,
        vhost: str | None = None,
        direct_reply: bool | None = None,
        introspection: bool = False,
        queue_states: bool = False,
    ) -> tuple[Sequence[str], Any]:
        """Return the fewest permissions that a user needs: as commands, and in the form of RabbitMQ's definitions.

        Args:
            request: whose.
            vhost: the virtual host; ``None``: that of the first broker, or ``/``.
            direct_reply: how a caller receives replies; ``None``: as the settings say.
            introspection: whether a caller of some services may ask all workers about themselves.
            queue_states: whether a caller may see the states of queues, on RabbitMQ 4.3 or later.

        Raises:
            ConfigurationError: the request cannot be fulfilled.
        """
        settings = self._settings
        where = vhost or next((endpoint.virtualhost for endpoint in settings.endpoints), "/")
        found = permission_set(
            request.role,
            names_in(settings.namespace),
            request.services,
            vhost=where,
            direct_reply=rabbitmq_settings(settings).direct_reply if direct_reply is None else direct_reply,
            introspection=introspection,
            queue_states=queue_states,
        )
        return found.commands(request.user, where), found.to_json(request.user, where)
