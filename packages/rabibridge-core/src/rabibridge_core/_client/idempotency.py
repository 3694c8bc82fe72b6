"""Idempotency keys: which calls may run twice, and the keys by which workers recognise them."""

from __future__ import annotations

import secrets
from itertools import count
from typing import TYPE_CHECKING

from rabibridge_core._protocol.headers import IDEMPOTENCY_KEY, IDEMPOTENT, KEY_LEARNED, RESENT
from rabibridge_core._protocol.streams import STREAM, UPLOAD

if TYPE_CHECKING:
    from rabibridge_core.transport import Headers, Request

__all__ = ["IdempotencyKeys"]

_ROUTES_KEPT = 4096
_FED = frozenset((STREAM, UPLOAD))


class IdempotencyKeys:
    """Gives keys to the calls of one client, and learns which services may run a call twice.

    Attributes:
        routes: the routing keys of the services whose last reply said that they may.
        elsewhere: whether a call whose connection was lost is made again by who made it, over another broker, and not
            sent again here. Streams and uploads are sent again here in any case.
    """

    def __init__(self) -> None:
        """No service is known to be idempotent yet."""
        self.routes: set[str] = set()
        self.elsewhere = False
        self.draw()

    def draw(self) -> None:
        """Give other keys from now on: after a fork, the other process would give the same."""
        self._token = secrets.token_urlsafe(12)
        self._numbers = count()

    def new(self) -> str:
        """Return a key that no other call of any client has. Correlation ids would not do: they are reused."""
        return f"{self._token}.{next(self._numbers)}"

    def add_header(self, headers: Headers | None, key: str | None) -> Headers:
        """Return ``headers`` with an idempotency key in addition: ``key``, or a new one if it is ``None``."""
        own = {IDEMPOTENCY_KEY: self.new() if key is None else key}
        return {**headers, **own} if headers else own

    def add_learned(self, headers: Headers | None) -> Headers:
        """Return ``headers`` with a new key in addition, and with the remark that the caller has not asked for it."""
        own: Headers = {IDEMPOTENCY_KEY: self.new(), KEY_LEARNED: True}
        return {**headers, **own} if headers else own

    def for_resending(self, request: Request) -> Request | None:
        """Return what is sent when a request is sent again; ``None`` if it must not be sent again."""
        headers = request.headers
        if self.elsewhere and not (headers and not _FED.isdisjoint(headers)):
            return None
        if not (headers and IDEMPOTENCY_KEY in headers):
            if request.routing_key not in self.routes:
                return None
            headers = self.add_learned(headers)
        return request._replace(headers={**headers, RESENT: True})

    def learn(self, route: str, headers: Headers) -> None:
        """Remember what a reply says about its service."""
        if headers.get(IDEMPOTENT) is not True:
            self.routes.discard(route)
        elif route not in self.routes:
            if len(self.routes) >= _ROUTES_KEPT:
                self.routes.clear()
            self.routes.add(route)
