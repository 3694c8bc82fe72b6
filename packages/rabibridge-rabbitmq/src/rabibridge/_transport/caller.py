"""The calling side on RabbitMQ: requests out with confirms, replies in, on one lane."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from rabibridge._amqp.durations import expiration_of
from rabibridge._amqp.fast_path import RequestTemplate
from rabibridge._amqp.field_tables import encode_table, readable_table
from rabibridge._amqp.frames import (
    PROBE_TABLE,
    FrameError,
    Frames,
    Properties,
    content,
    deadline_table,
    encode_properties,
    publish_method,
)
from rabibridge._connection.error_translation import permission_error, translated
from rabibridge._connection.fast_channel import FastChannel
from rabibridge._connection.topology import CANCEL_PREFIX, EXCHANGE, declare_exchange, declare_reply_queue
from rabibridge.errors import NoRouteError, QueueFullError
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge._connection.session import Session
    from rabibridge_core.transport import CallerEvents, Headers, Request

__all__ = ["RabbitCaller"]

_METHODS_KEPT = 4096
_ACCESS_REFUSED = 403
_BACK_OFF_FIRST = 1.0
_BACK_OFF_MOST = 30.0
_new_tuple = tuple.__new__  # half of the time that the constructor of a NamedTuple takes


class _PublishChannel(FastChannel):
    """Counts the delivery tags of what it publishes, and tells its caller what becomes of it."""

    def __init__(self, session: Session, channel: int, caller: RabbitCaller) -> None:
        super().__init__(session.tap, channel, session.max_payload, session.max_body)
        self.session = session
        self.reply_to = b""  # empty: not open for requests yet
        self._usual: RequestTemplate
        self._caller = caller
        self._events = caller.events
        self._lowest = 1  # the lowest tag that is not confirmed, as far as confirms of many at once told
        self._published = 0
        self._unconfirmed: dict[int, bytes] = {}
        self._methods: dict[str, bytes] = {}
        # A probe of a caller that takes direct replies would tell nothing.
        self._probe_table = b"" if session.direct_reply else PROBE_TABLE

    @property
    def paused(self) -> bool:
        return not self.open or self._tap.paused

    def begin(self, reply_to: bytes) -> None:
        """Be open for requests, whose replies go to this queue."""
        self.reply_to = reply_to
        self._usual = RequestTemplate(self.number, reply_to, self.max_payload)

    def publish(self, request: Request) -> None:
        route = request[0]
        method = self._methods.get(route) or self._method_to(route)
        frames = self._usual.frames(method, request, time.time()) or self._frames(method, request)
        self._published = tag = self._published + 1
        self._unconfirmed[tag] = request[1]
        self._tap.write(frames)

    def _method_to(self, routing_key: str) -> bytes:
        if len(self._methods) >= _METHODS_KEPT:
            self._methods.clear()
        method = publish_method(self.number, EXCHANGE, routing_key.encode(), mandatory=True)
        self._methods[routing_key] = method
        return method

    def _frames(self, method: bytes, request: Request) -> Frames:
        seconds, expiration = request.timeout, b""
        if seconds is None:
            table = self._with_probe(request.headers) if request.headers else self._probe_table
        else:
            expiration = expiration_of(seconds)
            milliseconds = int(expiration)
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
            request.persistent,
        )
        return content(self.number, method, flags, properties, request.body, self.max_payload)

    def _with_probe(self, headers: Headers) -> bytes:
        return encode_table({**headers, "rb-probe": True} if self._probe_table else headers)

    def cancel(self, routing_key: str, correlation_id: bytes) -> None:
        try:
            method = publish_method(self.number, EXCHANGE, (CANCEL_PREFIX + routing_key).encode(), mandatory=False)
        except FrameError:
            return  # too long a key for a prefix: no worker listens for it
        flags, properties = encode_properties(b"", b"", b"", correlation_id, self.reply_to)
        self._published += 1  # confirmed like all others, and nobody waits for that
        self.write(content(self.number, method, flags, properties, routing_key.encode(), self.max_payload))

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        correlation_id = properties.correlation_id
        if correlation_id or body:  # else a worker has asked whether we are still here
            table = properties.headers
            headers = readable_table(table) if table else None
            self._events.replied(
                correlation_id, _new_tuple(Reply, (body, properties.content_type, properties.content_encoding, headers))
            )

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

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        detail = f"no worker has ever offered it here under that name and kind ({code} {text})"
        self._events.refused(properties.correlation_id, NoRouteError, detail)

    def closed(self, error: ConnectionLostError) -> None:
        proven = self._published > 0 and 1 not in self._unconfirmed
        unconfirmed = tuple(self._unconfirmed.values())
        self._unconfirmed.clear()
        if self.close_code != _ACCESS_REFUSED:
            self._caller.update()
            self._events.lost(error, unconfirmed)
            self.session.fail(error)
        elif self.reply_to:  # else whoever opens it hears of it
            refusal = permission_error(self.session.endpoint, EXCHANGE.decode(), "every call", error)
            self._caller.refuse(refusal, self.session, proven=proven)
            self._events.lost(refusal, unconfirmed)

    def cancelled(self) -> None:
        self._close(ConnectionLostError("the reply queue was deleted by somebody else"))

    def flow_changed(self) -> None:
        self._caller.update()


class RabbitCaller:
    """Sends requests to the exchange ``rpc`` and takes the replies from a queue of its own."""

    def __init__(
        self,
        events: CallerEvents,
        mend: Callable[[RabbitCaller, Session, float], None],
        last_error: Callable[[], Exception | None],
    ) -> None:
        """Prepare to send; it takes a connection to :meth:`open`.

        Args:
            events: told what becomes of requests.
            mend: told to open it again on the connection that stands, after so many seconds.
            last_error: tells why there is no connection.
        """
        self.paused = True
        self.events = events
        self._mend = mend
        self._last_error = last_error
        self._lane: _PublishChannel | None = None
        self._flowing = asyncio.Event()
        self._closed: ConnectionLostError | None = None
        self._refusal: ConfigurationError | None = None
        self._back_off = 0.0

    async def open(self, session: Session) -> None:
        """Make ready to call over a new connection, or anew over the same.

        Raises:
            ConfigurationError: the broker refuses the reply queue.
            ConnectionLostError: the connection is gone.
        """
        before = self._lane
        await declare_exchange(session)
        with translated("the channel for calls cannot be opened"):
            async with session.in_time():
                channel = await session.open_channel(confirms=True)
                lane = _PublishChannel(session, channel.number, self)
                reply_to = await declare_reply_queue(channel, direct=session.direct_reply)
                if before is not None and before.session is session and not session.direct_reply:
                    await channel.queue_delete(before.reply_to.decode())  # what is still to come is returned then
        if not lane.open:
            raise session.error or ConnectionLostError("the channel for calls was closed", executed=False)
        lane.begin(reply_to)
        self._lane, self._refusal = lane, None
        self.update()

    @property
    def why_paused(self) -> str:
        """What it waits for."""
        lane = self._lane
        if not self.paused:
            return ""
        if self._closed is not None:
            return str(self._closed)
        if lane is None or not lane.open:
            error = self._last_error()
            return "there is no connection to the broker" + ("" if error is None else f": {error}")
        return lane.session.tap.why_paused

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
            if self._refusal is not None:
                raise ConfigurationError(str(self._refusal)) from self._refusal
            raise ConnectionLostError("there is no connection to the broker now", executed=False)
        lane.publish(request)

    def cancel(self, routing_key: str, correlation_id: bytes, /) -> None:
        """Publish to the workers of a service that nobody waits for this call."""
        lane = self._lane
        if lane is not None and lane.open:
            lane.cancel(routing_key, correlation_id)

    def close(self, error: ConnectionLostError) -> None:
        """End: whoever waits to send is told."""
        self._closed = error
        if self._lane is not None:
            self._lane.shut()
        self.update()

    def refuse(self, error: ConfigurationError, session: Session, *, proven: bool = False) -> None:
        """Fail all calls with this error for a while, then try again, on the same connection.

        The while is longer each time, unless the broker has taken a request in between (``proven``).
        """
        self._back_off = min(max(0.0 if proven else 2 * self._back_off, _BACK_OFF_FIRST), _BACK_OFF_MOST)
        self._refusal = error
        self.update()
        self._mend(self, session, self._back_off)

    def forget_refusal(self) -> None:
        """Let calls wait: the connection on which the broker refused them is gone."""
        self._refusal = None
        self.update()

    def update(self) -> None:
        """Find out whether requests can be sent now: those that are refused at once need not wait."""
        lane = self._lane
        waits = lane is None or lane.paused
        self.paused = self._closed is not None or (waits and self._refusal is None)
        if self.paused and self._closed is None:
            self._flowing.clear()
        else:
            self._flowing.set()
