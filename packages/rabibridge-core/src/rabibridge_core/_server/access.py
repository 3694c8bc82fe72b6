"""Admits calls: by the users that a service allows, and by the policy of its server.

A call is judged by its service, its user and its headers, before its body is decoded. Whatever goes wrong here refuses.
"""

from __future__ import annotations

import inspect
import logging
from typing import TYPE_CHECKING

from rabibridge_core._clock import monotonic
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import AccessDeniedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.transport import Headers, IncomingRequest

__all__ = ["AccessGate", "Audiences", "gate_of"]

_log = get_logger(__name__)
_limited = LimitedLog(_log)
_AUDIENCE_KEPT = 1.0
"""How long it is remembered what is hidden from a user, in seconds: a policy may ask others."""
_AUDIENCES_MAX = 256
_NO_HEADERS: Headers = {}


def gate_of(schema: ServiceSchema) -> AccessGate | None:
    """Return what admits the calls of a service; ``None``: every call is."""
    return None if schema.allow is None and schema.policy is None else AccessGate(schema)


class AccessGate:
    """Admits the calls of one service."""

    __slots__ = ("_allowed", "_failed", "_name", "_policy")

    def __init__(self, schema: ServiceSchema) -> None:
        """Admit calls of ``schema``."""
        self._name = schema.name
        self._allowed = None if schema.allow is None else frozenset(schema.allow)
        self._policy = schema.policy

    async def check(self, request: IncomingRequest) -> None:
        """Admit a call.

        Raises:
            AccessDeniedError: it is not admitted. The text names the service and the user, and nobody else.
        """
        user = request.user
        if not await self.admits(user, request.headers):
            raise AccessDeniedError(_denial(self._name, user), func_name=self._name)

    async def admits(self, user: str, headers: Headers) -> bool:
        """Tell whether calls of this user with these headers are admitted."""
        if self._allowed is not None and user not in self._allowed:
            return False
        if self._policy is None:
            return True
        try:
            verdict = self._policy(self._name, user, headers)
            if inspect.isawaitable(verdict):
                verdict = await verdict
        except Exception as error:  # noqa: BLE001 - whatever the policy raises, the call is refused
            _limited.log(
                f"service {self._name!r}: the policy has failed: {type(error).__name__}", logging.ERROR,
                "service %r: the policy has failed, and the call is refused: %s", self._name, error,
                extra=log_fields("access.policy_failed", service=self._name, error=error), exc_info=True,
            )  # fmt: skip
            return False
        return verdict is True


class Audiences:
    """What is hidden from whom: nobody hears of a service that it may not call."""

    def __init__(self, services: Iterable[ServiceSchema]) -> None:
        """Know these services, as they are when somebody asks."""
        self._services = services
        self._known: dict[str, tuple[float, frozenset[str]]] = {}

    @property
    def restricted(self) -> bool:
        """Whether anything is hidden from anybody."""
        return any(schema.allow is not None or schema.policy is not None for schema in self._services)

    async def hidden_from(self, user: str) -> frozenset[str]:
        """Return the names of the services that a user may not call; a policy gets no headers."""
        until, hidden = self._known.get(user, (0.0, frozenset[str]()))
        if until > monotonic():
            return hidden
        gates = {schema.name: gate_of(schema) for schema in self._services}
        hidden = frozenset(
            [name for name, gate in gates.items() if gate is not None and not await gate.admits(user, _NO_HEADERS)]
        )
        if any(schema.policy is not None for schema in self._services):
            if len(self._known) >= _AUDIENCES_MAX:
                self._known.clear()
            self._known[user] = monotonic() + _AUDIENCE_KEPT, hidden
        return hidden


def _denial(service: str, user: str) -> str:
    if user:
        return f"the user {user!r} may not call {service!r}"
    return (
        f"{service!r} is only for users that it allows, and nobody vouches for the user of this call: the caller needs "
        "the setting identify, and a version of RabiBridge that has it. A broker that does not tell who has sent a "
        "call, such as Redis, never vouches: use permissions or signatures there, not allow="
    )
