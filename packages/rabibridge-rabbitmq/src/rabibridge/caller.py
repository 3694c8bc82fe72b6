"""The calling side on RabbitMQ: requests out with confirms, replies in, on one lane."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from rabibridge.errors import NoRouteError, QueueFullError, translated
from rabibridge.frames import (
    Properties,
    content,
    deadline_table,
    encode_properties,
    encode_table,
    publish_method,
    readable_table,
)
from rabibridge.lane import Lane
from rabibridge.topology import EXCHANGE, declare_exchange, declare_reply_queue
from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge.session import Session
    from rabibridge_core.transport import CallerEvents, Request

__all__ = ["RabbitCaller"]

_METHODS_KEPT = 4096
_EXPIRATION_MAX = 2**32 - 1
"""RabbitMQ closes the channel on more, in milliseconds."""


class _CallerLane(Lane):
    """Counts the delivery tags of what it publishes, and tells the events what becomes of it."""

    def __init__(self, session: Session, channel: int, events: CallerEvents, changed: Callable[[], None]) -> None:
        super().__init__(session.tap, channel, session.max_payload, session.max_body)
        self.reply_to = b""
        self._events = events
        self._changed = changed
        self._failed = session.fail
        self._lowest = 1  # the lowest tag that is not confirmed, as far as confirms of many at once told
        self._published = 0
        self._unconfirmed: dict[int, bytes] = {}
        self._methods: dict[str, bytes] = {}

    @property
    def paused(self) -> bool:
        return not self.open or self._tap.paused

    def publish(self, request: Request) -> None:
        method = self._methods.get(request.routing_key)
        if method is None:
            if len(self._methods) >= _METHODS_KEPT:
                self._methods.clear()
            method = publish_method(self.number, EXCHANGE, request.routing_key.encode(), mandatory=True)
            self._methods[request.routing_key] = method
        seconds, expiration = request.timeout, b""
        if seconds is None:
            table = encode_table(request.headers) if request.headers else b""
        else:
            milliseconds = min(max(1, int(seconds * 1000 + 0.5)), _EXPIRATION_MAX)
            expiration = b"%d" % milliseconds
            deadline = int((time.time() + seconds) * 1000)
            if request.headers:
                times = {"rb-timeout": milliseconds, "rb-deadline": deadline}
                table = encode_table({**request.headers, **times})
            else:
                table = deadline_table(milliseconds, deadline)
        flags, properties = encode_properties(
            request.content_type.encode(),
            request.content_encoding.encode() if request.content_encoding else b"",
            table,
            request.correlation_id,
            self.reply_to,
            expiration,
        )
        self._published += 1
        self._unconfirmed[self._published] = request.correlation_id
        self.write(method + content(self.number, flags, properties, request.body, self.max_payload))

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        headers = readable_table(properties.headers) if properties.headers else None
        reply = Reply(body, properties.content_type, properties.content_encoding, headers)
        self._events.replied(properties.correlation_id, reply)

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        unconfirmed = self._unconfirmed
        if multiple:
            tags = range(self._lowest, min(tag, self._published) + 1)
            self._lowest = tags.stop
        else:
            tags = range(tag, tag + 1)
        for one in tags:
            correlation_id = unconfirmed.pop(one, None)
            if not accepted and correlation_id is not None:
                detail = "the queue of the service is full; it was not queued, try again later"
                self._events.refused(correlation_id, QueueFullError, detail)
        if not unconfirmed:  # confirms one by one leave nothing below for a confirm of many to go through
            self._lowest = self._published + 1

    def returned(self, code: int, text: str, properties: Properties) -> None:
        detail = f"no worker has ever offered it here under that name and kind ({code} {text})"
        self._events.refused(properties.correlation_id, NoRouteError, detail)

    def closed(self, error: ConnectionLostError) -> None:
        self._unconfirmed.clear()
        self._changed()
        self._events.lost(error)
        self._failed(error)

    def cancelled(self) -> None:
        self._close(ConnectionLostError("the reply queue was deleted by somebody else"))

    def flow_changed(self) -> None:
        self._changed()


class RabbitCaller:
    """Sends requests to the exchange ``rpc`` and takes the replies from a queue of its own."""

    def __init__(self, events: CallerEvents) -> None:
        """Tell ``events`` what becomes of requests."""
        self.paused = True
        self._events = events
        self._lane: _CallerLane | None = None
        self._flowing = asyncio.Event()
        self._closed: ConnectionLostError | None = None

    async def open(self, session: Session) -> None:
        """Make ready to call over a new connection.

        Raises:
            ConfigurationError: the broker refuses the reply queue.
            ConnectionLostError: the connection is gone.
        """
        await declare_exchange(session)
        with translated("the channel for calls cannot be opened"):
            async with session.in_time():
                channel = await session.open_channel(confirms=True)
                lane = _CallerLane(session, channel.number, self._events, self._update)
                lane.reply_to = await declare_reply_queue(channel, direct=session.direct_reply)
        if not lane.open:
            raise session.error or ConnectionLostError("the channel for calls was closed", executed=False)
        self._lane = lane
        self._update()

    async def writable(self) -> None:
        """Wait until requests can be sent."""
        while self.paused:
            if self._closed is not None:
                raise ConnectionLostError(str(self._closed), executed=False)
            await self._flowing.wait()

    def send(self, request: Request, /) -> None:
        """Publish the request."""
        lane = self._lane
        if lane is None or not lane.open:
            raise ConnectionLostError("there is no connection to the broker now", executed=False)
        lane.publish(request)

    def close(self, error: ConnectionLostError) -> None:
        """End: whoever waits to send is told."""
        self._closed = error
        if self._lane is not None:
            self._lane.shut()
        self._update()

    def _update(self) -> None:
        lane = self._lane
        self.paused = self._closed is not None or lane is None or lane.paused
        if self.paused and self._closed is None:
            self._flowing.clear()
        else:
            self._flowing.set()
