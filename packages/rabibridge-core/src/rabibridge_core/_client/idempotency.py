"""Idempotency keys: which calls may run twice, and the keys by which workers recognise them."""

from __future__ import annotations

import secrets
from itertools import count
from typing import TYPE_CHECKING

from rabibridge_core._protocol.headers import IDEMPOTENCY_KEY, IDEMPOTENT

if TYPE_CHECKING:
    from rabibridge_core.transport import Headers, Request

__all__ = ["IdempotencyKeys"]

_ROUTES_KEPT = 4096


class IdempotencyKeys:
    """Gives keys to the calls of one client, and learns which services may run a call twice.

    Attributes:
        routes: the routing keys of the services whose last reply said that they may.
    """

    def __init__(self) -> None:
        """No service is known to be idempotent yet."""
        self.routes: set[str] = set()
        self._token = secrets.token_urlsafe(12)
        self._numbers = count()

    def new(self) -> str:
        """Return a key that no other call of any client has. Correlation ids would not do: they are reused."""
        return f"{self._token}.{next(self._numbers)}"

    def add_header(self, headers: Headers | None, key: str | None) -> Headers:
        """Return ``headers`` with an idempotency key in addition: ``key``, or a new one if it is ``None``."""
        own = {IDEMPOTENCY_KEY: self.new() if key is None else key}
        return {**headers, **own} if headers else own

    def with_key(self, request: Request) -> Request | None:
        """Return a request that may be sent again, with a key; ``None`` if it must not be sent again."""
        if request.headers and IDEMPOTENCY_KEY in request.headers:
            return request
        if request.routing_key in self.routes:
            return request._replace(headers=self.add_header(request.headers, None))
        return None

    def learn(self, route: str, headers: Headers) -> None:
        """Remember what a reply says about its service."""
        if headers.get(IDEMPOTENT) is not True:
            self.routes.discard(route)
        elif route not in self.routes:
            if len(self.routes) >= _ROUTES_KEPT:
                self.routes.clear()
            self.routes.add(route)
