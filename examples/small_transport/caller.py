"""The end of the transport that sends requests and hears what becomes of them: a Caller."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from broker import ADDRESS, Message
from rabibridge_core.connection import BROADCAST_MAX, broker_texts
from rabibridge_core.errors import ConnectionLostError, NoRouteError, QueueFullError
from rabibridge_core.transport import CallerEvents, Reply, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from link import Link
    from transport import SmallTransport


class SmallCaller:
    def __init__(self, transport: SmallTransport, events: CallerEvents, number: int) -> None:
        self.events, self._transport, self._number = events, transport, number
        self._unconfirmed: set[bytes] = set()

    @property
    def paused(self) -> bool:
        return self._transport.link is None

    @property
    def why_paused(self) -> str:
        return f"there is no connection: {self._transport.last_error}" if self.paused else ""

    @property
    def unconfirmed(self) -> Collection[bytes]:
        return frozenset(self._unconfirmed)

    @property
    def reply_address(self) -> bytes:
        link = self._transport.link
        return b"" if link is None else f"{link.token}.{self._number}".encode()

    async def writable(self) -> None:
        await self._transport.ready()

    def _checked(self, request: Request, limit: int | None = None) -> Link:
        link = self._transport.link
        if link is None:
            raise ConnectionLostError("there is no connection", executed=False)
        if (refusal := self._transport.refusal(request.body, "the request", limit)) is not None:
            raise refusal
        return link

    def _later(self, act: Callable[..., None], request: Request, limit: int | None = None) -> None:
        """Act in the next turn of the loop: nobody is called back inside send()."""
        link = self._checked(request, limit)
        self._transport.soon(self._if_connected, link, act, request)

    def _if_connected(self, link: Link, act: Callable[..., None], request: Request) -> None:
        if link.error is None:  # otherwise lost() reports what was not confirmed
            act(request)

    def send(self, request: Request, /) -> None:
        self._later(lambda request: self._publish(request, self.reply_address.decode()), request)
        self._unconfirmed.add(request.correlation_id)

    def notify(self, request: Request, /) -> None:
        self._later(lambda request: self._publish(request, ""), request)
        self._unconfirmed.add(request.correlation_id)

    def broadcast(self, request: Request, /) -> None:
        self._later(self._publish_to_all, request, BROADCAST_MAX)
        self._unconfirmed.add(request.correlation_id)

    def feed(self, request: Request, /) -> None:
        self._later(self._feed, request)

    def _publish(self, request: Request, reply_to: str) -> None:
        outcome = self._transport.broker.publish(request, reply_to)
        self._unconfirmed.discard(request.correlation_id)
        if outcome == "full":
            self.events.refused(request.correlation_id, QueueFullError, broker_texts.QUEUE_FULL)
        elif outcome == "no route":
            self.events.refused(request.correlation_id, NoRouteError, broker_texts.NO_ROUTE)
        elif not reply_to:
            self.events.confirmed(request.correlation_id)

    def _publish_to_all(self, request: Request) -> None:
        deadline = None if request.timeout is None else time.time() + request.timeout
        message = Message(0, request, self.reply_address.decode(), deadline)
        found = self._transport.broker.publish_to_all(request.routing_key, "broadcast", message)
        self._unconfirmed.discard(request.correlation_id)
        if found:
            self.events.confirmed(request.correlation_id)
        else:
            self.events.refused(request.correlation_id, NoRouteError, broker_texts.NO_ROUTE)

    def _feed(self, request: Request) -> None:
        message = Reply(request.body, request.content_type, request.content_encoding, request.headers)
        token = request.routing_key.removeprefix(ADDRESS)
        if not self._transport.broker.send(token, "fed", self.reply_address, request.correlation_id, message):
            self.events.feed_refused(request.correlation_id, NoRouteError, broker_texts.WORKER_GONE)

    def cancel(self, routing_key: str, correlation_id: bytes, /) -> None:
        link, address = self._transport.link, self.reply_address
        if link is not None:  # after the request, if that was sent in the same turn
            publish = self._transport.broker.publish_to_all
            self._transport.soon(publish, routing_key, "cancelled", routing_key, address, correlation_id)

    async def look(self, queue: str, /) -> tuple[int, int] | None:
        if self._transport.link is None:
            raise ConnectionLostError("there is no connection", executed=False)
        found = self._transport.broker.queues.get(queue)
        return None if found is None else (len(found.subscriptions), len(found.waiting))

    def lost(self, error: ConnectionLostError) -> None:
        unconfirmed, self._unconfirmed = self._unconfirmed, set()
        self.events.lost(error, unconfirmed)
