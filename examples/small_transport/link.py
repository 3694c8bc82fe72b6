"""One connection to the broker, a Session; what opens it, an Opener; and a control request that arrives on it."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

from broker import ADDRESS, Broker, Message, RefusedError
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.settings import Endpoint
    from rabibridge_core.transport import Headers, Reply


def token_of(address: bytes) -> str:
    return address.decode().partition(".")[0]


class Link:
    """One connection to the broker, from its log-in to its loss: a Session."""

    forked, blocked_for = False, 0.0

    def __init__(self, endpoint: Endpoint, broker: Broker) -> None:
        self.endpoint, self._broker = endpoint, broker
        self.token = secrets.token_hex(16)  # what can be guessed can be written to by others
        self.address = ADDRESS + self.token
        self.lost = asyncio.Event()
        self.error: ConnectionLostError | None = None
        self.on_arrival: Callable[..., None] = print
        self.on_loss: Callable[[], None] = lambda: None
        self._loop = asyncio.get_running_loop()

    def arrived(self, *message: Any) -> None:
        """Called by the broker, at any time: pass the message on in a turn of its own."""
        self._loop.call_soon(self._pass_on, message)

    def _pass_on(self, message: tuple[Any, ...]) -> None:
        if self.error is None:
            self.on_arrival(*message)

    def fail(self, error: ConnectionLostError) -> None:
        if self.error is None:
            self.error = error
            self._broker.detach(self.token)
            self.on_loss()  # at once: what is void now must not be settled any more
            self.lost.set()

    give_up = fail

    async def close(self) -> None:
        self.fail(ConnectionLostError("the connection was closed"))

    def abandon(self) -> None:
        self.error = self.error or ConnectionLostError("the event loop is closed")
        self._broker.detach(self.token)


class LinkOpener:
    """Opens connections: an Opener."""

    curable: tuple[type[ConfigurationError], ...] = ()

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    async def open(self, endpoint: Endpoint, /) -> Link:
        link = Link(endpoint, self._broker)
        try:
            self._broker.attach(link.token, link.arrived)
        except RefusedError as error:
            raise ConnectionLostError(f"cannot reach {endpoint}: {error}", executed=False) from error
        return link

    async def settled(self, session: Link, last: Endpoint | None, lost_at: float, /) -> None:
        """Return: the broker needs no time after a loss."""


class Question:
    """One control request."""

    user = ""

    def __init__(self, message: Message, send: Callable[[bytes, bytes, Reply], None]) -> None:
        request = message.request
        self.reply_address, self.correlation_id, self.body = (
            message.reply_to.encode(),
            request.correlation_id,
            request.body,
        )
        self.content_type, self.content_encoding = request.content_type, request.content_encoding
        self.headers: Headers = request.headers or {}
        self._send = send

    def reply(self, reply: Reply, /) -> None:
        self._send(self.reply_address, self.correlation_id, reply)
