"""The caller side on RabbitMQ: publishes requests with confirms and receives replies, on one channel."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from rabibridge._amqp.durations import expiration_of
from rabibridge._amqp.fast_path import RequestTemplate
from rabibridge._amqp.field_tables import decode_table_or_empty, encode_table
from rabibridge._amqp.frames import FrameError, Frames, content
from rabibridge._amqp.headers import DEADLINE_HEADER, PROBE_HEADER, PROBE_TABLE, TIMEOUT_HEADER, deadline_table
from rabibridge._amqp.methods import ACCESS_REFUSED, publish_method
from rabibridge._amqp.properties import Properties, encode_properties, with_user_id
from rabibridge._connection.error_translation import permission_error, translated
from rabibridge._connection.fast_channel import FastChannel
from rabibridge._connection.queue_state import look_at_queue
from rabibridge._connection.topology import CANCEL_PREFIX, EXCHANGE, declare_exchange, declare_reply_queue
from rabibridge._transport.request_checks import check_headers, check_size
from rabibridge._transport.unroutable import UnroutableKeys
from rabibridge.errors import NoRouteError, QueueFullError
from rabibridge_core._concurrency.backoff import Backoff
from rabibridge_core._protocol.broker_texts import NO_ROUTE, QUEUE_FULL
from rabibridge_core._protocol.headers import IDEMPOTENCY_KEY
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from rabibridge._connection.session import Session
    from rabibridge_core.transport import CallerEvents, Request

__all__ = ["RabbitCaller"]

_FIRST_DELAY = 1.0
_MAX_DELAY = 30.0
_new_tuple = tuple.__new__  # takes half the time of the constructor of a NamedTuple


class _PublishChannel(FastChannel):
    """Publishes requests, matches their confirms by delivery tag, and reports replies and refusals."""

    def __init__(self, session: Session, channel: int, caller: RabbitCaller) -> None:
        super().__init__(session.multiplexer, channel, session.max_payload, session.max_body)
        self.session = session
        self.reply_to = b""  # empty: not ready for requests yet
        self._template: RequestTemplate
        self._caller = caller
        self._events = caller.events
        self._lowest = 1  # no tag below it is unconfirmed
        self._published = 0
        self.unconfirmed: dict[int, bytes] = {}
        self._unroutable = UnroutableKeys()
        # Probing a caller that uses direct replies tells nothing.
        self._probe_table = b"" if session.direct_reply else PROBE_TABLE

    @property
    def paused(self) -> bool:
        return not self.open or self._multiplexer.paused

    def start(self, reply_to: bytes) -> None:
        """Accept requests, whose replies go to this queue."""
        self.reply_to = reply_to
        limit = self.session.max_message
        small = self.max_payload if limit is None else min(self.max_payload, limit)
        self._template = RequestTemplate(self.number, reply_to, small)

    def publish(self, request: Request) -> None:
        route = request[0]
        method = self._publish_methods.get(route) or self._add_publish_method(
            route, EXCHANGE, route.encode(), mandatory=True
        )
        frames = self._template.encode(method, request, time.time()) or self._encode_any_request(method, request)
        self._published = tag = self._published + 1
        self.unconfirmed[tag] = request[1]
        self._multiplexer.write(frames)

    def _encode_any_request(self, method: bytes, request: Request) -> Frames:
        check_size(len(request.body), self.session.max_message)
        seconds, expiration = request.timeout, b""
        if seconds is None:
            table = self._probe_table
            if request.headers:
                table = encode_table({**request.headers, PROBE_HEADER: True} if table else request.headers)
        else:
            expiration = expiration_of(seconds)
            milliseconds = int(expiration)
            deadline = int((time.time() + seconds) * 1000)
            if request.headers:
                table = encode_table({**request.headers, TIMEOUT_HEADER: milliseconds, DEADLINE_HEADER: deadline})
            else:
                table = deadline_table(milliseconds, deadline)
        _, correlation_id, body, content_type, content_encoding, _, _, persistent = request
        properties = _new_tuple(
            Properties,
            (content_type, content_encoding, table, correlation_id, self.reply_to, expiration, persistent, b""),
        )
        flags, encoded = encode_properties(properties)
        if request.headers:
            if IDEMPOTENCY_KEY in request.headers and self._caller.names_user and self.session.user_id:
                flags, encoded = with_user_id(flags, encoded, self.session.user_id)
            check_headers(request.headers, len(encoded), self.max_payload)
        return content(self.number, method, flags, encoded, body, self.max_payload)

    def cancel(self, routing_key: str, correlation_id: bytes) -> None:
        try:
            method = publish_method(self.number, EXCHANGE, (CANCEL_PREFIX + routing_key).encode(), mandatory=False)
        except FrameError:
            return  # the key is too long with the prefix: no worker listens for cancellations of this service
        flags, encoded = encode_properties(Properties(correlation_id=correlation_id, reply_to=self.reply_to))
        self._published += 1  # the broker confirms it like all publishes, and nothing waits for that
        self.write(content(self.number, method, flags, encoded, routing_key.encode(), self.max_payload))

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        correlation_id = properties.correlation_id
        if correlation_id or body:  # else it is the probe of a worker
            table = properties.headers
            headers = decode_table_or_empty(table) if table else None
            self._events.replied(
                correlation_id, _new_tuple(Reply, (body, properties.content_type, properties.content_encoding, headers))
            )

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        unconfirmed = self.unconfirmed
        if multiple:
            tags = range(self._lowest, min(tag, self._published) + 1)
            self._lowest = tags.stop
        else:
            tags = range(tag, tag + 1)
        for confirmed_tag in tags:
            correlation_id = unconfirmed.pop(confirmed_tag, None)
            if not accepted and correlation_id is not None:
                self._events.refused(correlation_id, QueueFullError, QUEUE_FULL)
        if not unconfirmed:  # so that the next multiple confirm does not visit the tags that were confirmed one by one
            self._lowest = self._published + 1

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        self._events.refused(properties.correlation_id, NoRouteError, NO_ROUTE)
        if self._unroutable.due(route := key.decode()):  # its workers bind their queue again, if there are any
            self.cancel(route, b"")  # a cancellation of no call: workers that do not know the meaning ignore it

    def closed(self, error: ConnectionLostError) -> None:
        proven = self._published > 0 and 1 not in self.unconfirmed
        unconfirmed = tuple(self.unconfirmed.values())
        self.unconfirmed.clear()
        self._caller.names_user &= not self.user_id_refused
        if self.session.learn_max_message(self.close_code, self.close_text):
            limit = self.session.max_message
            assert limit is not None
            self._caller.update()
            self._events.too_large(limit, unconfirmed)
            self._events.lost(error, unconfirmed)
            self._caller.reopen(self.session)
        elif self.close_code != ACCESS_REFUSED:
            self._caller.update()
            self._events.lost(error, unconfirmed)
            self.session.fail(error)
        elif self.reply_to:  # else opening it fails with this error
            refusal = permission_error(self.session.endpoint, EXCHANGE.decode(), "every call", error)
            self._caller.refuse(refusal, self.session, proven=proven)
            self._events.lost(refusal, unconfirmed)

    def cancelled(self) -> None:
        self._close(ConnectionLostError("the reply queue was deleted on the broker"))

    def flow_changed(self) -> None:
        self._caller.update()


class RabbitCaller:
    """Publishes requests to the exchange ``rpc`` and receives the replies from its own reply queue."""

    def __init__(
        self,
        events: CallerEvents,
        reopen: Callable[[RabbitCaller, Session, float], None],
        last_error: Callable[[], Exception | None],
    ) -> None:
        """Prepare to send; :meth:`open` needs a connection.

        Args:
            events: where replies, refusals and losses are reported.
            reopen: called to reopen the caller on the current connection after a delay in seconds.
            last_error: returns why there is no connection.
        """
        self.paused = True
        self.names_user = True
        self.events = events
        self._reopen = reopen
        self._last_error = last_error
        self._channel: _PublishChannel | None = None
        self._not_paused = asyncio.Event()
        self._closed: ConnectionLostError | None = None
        self._refusal: ConfigurationError | None = None
        self._backoff = Backoff(_FIRST_DELAY, _MAX_DELAY, jitter=0)

    async def open(self, session: Session) -> None:
        """Prepare for calls on a new connection, or again on the same.

        Raises:
            ConfigurationError: the broker refuses the reply queue.
            ConnectionLostError: the connection is lost.
        """
        previous = self._channel
        await declare_exchange(session)
        with translated("the channel for calls cannot be opened"):
            async with session.timeout():
                control_channel = await session.open_channel(confirms=True)
                channel = _PublishChannel(session, control_channel.number, self)
                reply_to = await declare_reply_queue(control_channel, direct=session.direct_reply)
                if previous is not None and previous.session is session and not session.direct_reply:
                    # Late replies are then returned to the workers, which learn that their caller is gone.
                    await control_channel.queue_delete(previous.reply_to.decode())
        if not channel.open:
            raise session.error or ConnectionLostError("the channel for calls was closed", executed=False)
        channel.start(reply_to)
        self._channel, self._refusal = channel, None
        self.update()

    @property
    def why_paused(self) -> str:
        """Why it is paused, as a clause for an error message; empty if it is not."""
        channel = self._channel
        if not self.paused:
            return ""
        if self._closed is not None:
            return str(self._closed)
        if channel is None or not channel.open:
            error = self._last_error()
            return "there is no connection to the broker" + ("" if error is None else f": {error}")
        return channel.session.multiplexer.why_paused

    @property
    def unconfirmed(self) -> Collection[bytes]:
        """Which requests it has not confirmed."""
        return () if self._channel is None else tuple(self._channel.unconfirmed.values())

    async def writable(self) -> None:
        """Wait until requests can be sent."""
        while self.paused:
            if self._closed is not None:
                raise ConnectionLostError(str(self._closed), executed=False)
            await self._not_paused.wait()

    def send(self, request: Request, /) -> None:
        """Publish the request."""
        channel = self._channel
        if channel is None or not channel.open:
            if self._refusal is not None:
                raise ConfigurationError(str(self._refusal)) from self._refusal
            raise ConnectionLostError("there is no connection to the broker", executed=False)
        channel.publish(request)

    async def look(self, queue: str, /) -> tuple[int, int] | None:
        return None if self._channel is None else await look_at_queue(self._channel.session, queue)

    def cancel(self, routing_key: str, correlation_id: bytes, /) -> None:
        """Publish a cancellation to the workers of the service."""
        channel = self._channel
        if channel is not None and channel.open:
            channel.cancel(routing_key, correlation_id)

    def close(self, error: ConnectionLostError) -> None:
        """Close permanently; waiting calls fail with ``error``."""
        self._closed = error
        if self._channel is not None:
            self._channel.mark_closing()
        self.update()

    def refuse(self, error: ConfigurationError, session: Session, *, proven: bool = False) -> None:
        """Fail all calls with ``error`` for a while, then reopen on the same connection.

        The delay doubles each time, unless the broker has accepted a request in between (``proven``).
        """
        if proven:
            self._backoff.reset()
        self._refusal = error
        self.update()
        self._reopen(self, session, self._backoff.next())

    def reopen(self, session: Session) -> None:
        """Open another channel on the same connection, at once."""
        self._reopen(self, session, 0.0)

    def forget_refusal(self) -> None:
        """Let calls wait again: the connection on which the broker refused them is lost."""
        self._refusal = None
        self.update()

    def update(self) -> None:
        """Update :attr:`paused`; a refused caller is not paused, so that calls fail at once."""
        channel = self._channel
        waits = channel is None or channel.paused
        self.paused = self._closed is not None or (waits and self._refusal is None)
        if self.paused and self._closed is None:
            self._not_paused.clear()
        else:
            self._not_paused.set()
