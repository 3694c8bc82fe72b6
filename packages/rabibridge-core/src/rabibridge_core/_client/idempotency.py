"""Idempotency keys: which calls may run twice, and the names by which workers know them again."""

from __future__ import annotations

import secrets
from itertools import count
from typing import TYPE_CHECKING

from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from rabibridge_core.transport import Headers, Request

__all__ = ["IdempotencyKeys", "check_key"]

_KEY = "rb-key"
_IDEMPOTENT = "rb-idempotent"
_KEY_MAX = 200
_ROUTES_KEPT = 4096


class IdempotencyKeys:
    """Gives keys to the calls of one client, and learns which services may run a call twice.

    Attributes:
        routes: the routing keys of the services whose last reply said that they may.
    """

    def __init__(self) -> None:
        """Know no service yet."""
        self.routes: set[str] = set()
        self._token = secrets.token_urlsafe(12)
        self._numbers = count()

    def new(self) -> str:
        """Return a key that no other call has, of any client: correlation ids come again, and an answer must not."""
        return f"{self._token}.{next(self._numbers)}"

    def header(self, key: str | None) -> Headers:
        """Return the header for a call with this key; ``None``: with one of its own."""
        return {_KEY: self.new() if key is None else key}

    def keyed(self, request: Request) -> Request | None:
        """Return the request with a key, if it may be sent again: it has one, or its service is known by now."""
        if request.headers and _KEY in request.headers:
            return request
        if request.routing_key in self.routes:
            return request._replace(headers={**(request.headers or {}), _KEY: self.new()})
        return None

    def learn(self, route: str, headers: Headers) -> None:
        """Remember what the reply of a service says of it."""
        if headers.get(_IDEMPOTENT) is not True:
            self.routes.discard(route)
        elif route not in self.routes:
            if len(self.routes) >= _ROUTES_KEPT:
                self.routes.clear()
            self.routes.add(route)


def check_key(key: object) -> None:
    """Check an idempotency key.

    Raises:
        ConfigurationError: it is not a text of 1 to 200 characters that UTF-8 can encode.
    """
    if isinstance(key, str) and 1 <= len(key) <= _KEY_MAX and not any("\ud800" <= char <= "\udfff" for char in key):
        return
    shown = repr(key)
    raise ConfigurationError(f"idempotency_key is {shown[:80]}: it is a text of 1 to {_KEY_MAX} characters")
