"""The channel of a caller: publishes requests, matches their confirms, and receives the replies."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol, TypeAlias

from rabibridge._amqp.bundles import BUNDLE_TYPE
from rabibridge._amqp.fast_path import RequestTemplate
from rabibridge._amqp.field_tables import decode_short_table, decode_table_or_empty
from rabibridge._amqp.frames import FrameError, Frames
from rabibridge._amqp.headers import (
    BROADCAST_HEADER,
    PROBE_TABLE,
    is_signed_table,
)
from rabibridge._amqp.methods import ACCESS_REFUSED, publish_method
from rabibridge._connection.error_translation import permission_error
from rabibridge._connection.fast_channel import FastChannel
from rabibridge._connection.names import CANCEL_PREFIX, STREAM_PREFIX
from rabibridge._transport.incoming_bundles import BUNDLES_FROM, bundled_calls, may_announce, split
from rabibridge._transport.request_encoder import RequestEncoder
from rabibridge._transport.unroutable import UnroutableKeys
from rabibridge.errors import NoRouteError, QueueFullError
from rabibridge_core._clock import wall
from rabibridge_core._protocol.broadcasts import BROADCAST_MAX, broadcast_too_large
from rabibridge_core._protocol.broker_texts import FEED_REFUSED, NO_ROUTE, QUEUE_FULL, WORKER_GONE, too_large
from rabibridge_core._reporting.limited_log import LimitedLog
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConnectionLostError, ContentRejectedError
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge._amqp.properties import Properties
    from rabibridge._connection.session import Session
    from rabibridge._transport.refused_routes import RefusedRoutes
    from rabibridge_core.errors import ConfigurationError
    from rabibridge_core.transport import CallerEvents, Headers, Request

__all__ = ["PublishChannel", "PublishOwner", "Unproven"]

_log = get_logger(__name__)
_limited = LimitedLog(_log)
_SHORT_TABLE = 160
"""Header tables of fewer bytes, such as those of services that are idempotent, come again and again."""
_new_tuple = tuple.__new__  # takes half the time of the constructor of a NamedTuple


Unproven: TypeAlias = "tuple[Callable[[PublishChannel, Request], None], Request]"
"""A message, and the method that sends it."""


class PublishOwner(Protocol):
    """What a channel uses of the caller that owns it.

    Attributes:
        events: where replies, refusals and losses are reported.
        names_user: whether messages name the user that sends them; not if the broker knows it by another name.
        refused_routes: the routing keys that the user may not publish to.
    """

    events: CallerEvents
    names_user: bool
    refused_routes: RefusedRoutes

    def update(self) -> None:
        """Called when the channel accepts requests, or no longer does."""
        ...

    def reopen(self, session: Session) -> None:
        """Open another channel on the same connection, at once."""
        ...

    def send_nameless(self, messages: list[Unproven], session: Session) -> None:
        """Open another channel, and send messages there that the broker has not accepted, without naming the user."""
        ...

    def refuse(self, error: ConfigurationError, session: Session, *, proven: bool = False) -> None:
        """Fail all calls with ``error`` for a while, then reopen on the same connection."""
        ...


class PublishChannel(FastChannel):
    """Publishes requests, matches their confirms by delivery tag, and reports replies and refusals."""

    def __init__(self, session: Session, channel: int, caller: PublishOwner) -> None:
        super().__init__(session.multiplexer, channel, session.max_payload, session.max_body)
        self.session = session
        self._exchange = session.names.exchange_bytes
        self.reply_to = b""  # empty: not ready for requests yet
        self._template: RequestTemplate
        self._caller = caller
        self._events = caller.events
        self._lowest = 1  # no tag below it is unconfirmed
        self._published = 0
        self.unconfirmed: dict[int, bytes] = {}
        self._feeds: dict[int, tuple[bytes, int]] = {}
        """The further messages of calls that are not confirmed: by delivery tag, correlation id and size."""
        self._reported: set[bytes] = set()
        """The correlation ids whose confirm is reported."""
        self._unroutable = UnroutableKeys()
        self._user_id = session.user_id if session.identify and caller.names_user else b""
        self._encoder = RequestEncoder(channel, session, self._user_id)
        self._bundled_calls = bundled_calls(caller.events, session.max_body)
        self._unproven: list[Unproven] | None = [] if self._user_id else None
        """What was sent before the broker has accepted a message with this user; ``None``: it has, or none is named."""
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
        self._template = RequestTemplate(self.number, reply_to, small, self._user_id)

    def publish(self, request: Request) -> None:
        route = request[0]
        method = self._publish_methods.get(route) or self._method_of(route)
        bundles = len(self._bundled_calls) >= BUNDLES_FROM and may_announce(request[6])
        frames = self._template.encode(method, request, wall(), bundles=bundles) or self._encoder.encode(
            method, request, self.reply_to, self._probe_table, bundles=bundles
        )
        if self._unproven is not None:
            self._unproven.append((PublishChannel.publish, request))
        self._published = tag = self._published + 1
        self.unconfirmed[tag] = request[1]
        self._multiplexer.write(frames)

    def _method_of(self, route: str) -> bytes:
        """Return the method that publishes to a routing key on this channel for the first time."""
        self._caller.refused_routes.check(route)
        return self._add_publish_method(route, self._exchange, route.encode(), mandatory=True)

    def notify(self, request: Request) -> None:
        """Publish a request without an address for a reply, and report its confirm."""
        self._caller.refused_routes.check(request.routing_key)
        method = publish_method(self.number, self._exchange, request.routing_key.encode(), mandatory=True)
        frames = self._encoder.encode(method, request, b"", b"")
        if self._unproven is not None:
            self._unproven.append((PublishChannel.notify, request))
        self._publish_reported(request.correlation_id, frames)

    def broadcast(self, request: Request) -> None:
        """Publish a request to the queue of each worker of its service, and report its confirm."""
        if len(request.body) > BROADCAST_MAX:
            raise ContentRejectedError(broadcast_too_large(len(request.body)))
        key = request.routing_key
        self._caller.refused_routes.check(CANCEL_PREFIX + key)
        method = publish_method(self.number, self._exchange, (CANCEL_PREFIX + key).encode(), mandatory=True)
        # Cancellations of the same keys arrive in the same queues, and have no headers.
        marked = request._replace(headers={**(request.headers or {}), BROADCAST_HEADER: key}, persistent=False)
        frames = self._encoder.encode(method, marked, self.reply_to, self._probe_table)
        if self._unproven is not None:
            self._unproven.append((PublishChannel.broadcast, request))
        self._publish_reported(request.correlation_id, frames)

    def feed(self, request: Request) -> None:
        """Publish a further message of a call; only a refusal is reported."""
        route = request.routing_key
        method = self._publish_methods.get(route) or self._method_of(route)
        frames = self._encoder.encode(method, request, self.reply_to, b"")
        self._published = tag = self._published + 1
        self._feeds[tag] = request.correlation_id, len(request.body)
        self._multiplexer.write(frames)

    def _publish_reported(self, correlation_id: bytes, frames: Frames) -> None:
        self._published = tag = self._published + 1
        self.unconfirmed[tag] = correlation_id
        self._reported.add(correlation_id)
        self._multiplexer.write(frames)

    def cancel(self, routing_key: str, correlation_id: bytes) -> None:
        key = CANCEL_PREFIX + routing_key
        if key in self._caller.refused_routes:
            return
        try:
            method = publish_method(self.number, self._exchange, key.encode(), mandatory=False)
        except FrameError:
            return  # the key is too long with the prefix: no worker listens for cancellations of this service
        self._published += 1  # the broker confirms it like all publishes, and nothing waits for that
        self.write(self._encoder.encode_cancel(method, correlation_id, self.reply_to, routing_key.encode()))

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        correlation_id = properties.correlation_id
        if not correlation_id and properties[0] == BUNDLE_TYPE:
            for one, content in split(body, self.session.endpoint):
                self.delivered(tag, redelivered, one, content)
        elif correlation_id or body:  # else it is the probe of a worker
            table = properties.headers
            headers: Headers | None = None
            if table:
                again = len(table) < _SHORT_TABLE and not is_signed_table(table)
                headers = decode_short_table(table) if again else decode_table_or_empty(table)
            self._events.replied(
                correlation_id, _new_tuple(Reply, (body, properties.content_type, properties.content_encoding, headers))
            )

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        unconfirmed, reported = self.unconfirmed, self._reported
        self._unproven = None
        if multiple:
            tags = range(self._lowest, min(tag, self._published) + 1)
            self._lowest = tags.stop
        else:
            tags = range(tag, tag + 1)
        for confirmed_tag in tags:
            correlation_id = unconfirmed.pop(confirmed_tag, None)
            if (reported or not accepted) and correlation_id is not None:
                self._report(correlation_id, accepted=accepted)
        if self._feeds:
            self._feeds_confirmed(tag, multiple=multiple, accepted=accepted)
        if not unconfirmed:  # so that the next multiple confirm does not visit the tags that were confirmed one by one
            self._lowest = self._published + 1

    def _feeds_confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        feeds = self._feeds
        for confirmed_tag in [known for known in feeds if known <= tag] if multiple else (tag,):
            feed = feeds.pop(confirmed_tag, None)
            if feed is not None and not accepted:
                self._events.feed_refused(feed[0], QueueFullError, FEED_REFUSED)

    def _report(self, correlation_id: bytes, *, accepted: bool) -> None:
        if not accepted:
            self._reported.discard(correlation_id)
            self._events.refused(correlation_id, QueueFullError, QUEUE_FULL)
        elif correlation_id in self._reported:
            self._reported.discard(correlation_id)
            self._events.confirmed(correlation_id)

    def returned(self, code: int, text: str, key: bytes, properties: Properties) -> None:
        if key.startswith(STREAM_PREFIX):
            self._events.feed_refused(properties.correlation_id, NoRouteError, WORKER_GONE)  # it is confirmed, too
            return
        self._reported.discard(properties.correlation_id)  # the broker confirms it, too
        self._events.refused(properties.correlation_id, NoRouteError, NO_ROUTE)
        route = key.decode()
        if not route.startswith(CANCEL_PREFIX) and self._unroutable.due(
            route
        ):  # its workers bind their queue again, if there are any
            self.cancel(route, b"")  # a cancellation of no call: workers that do not know the meaning ignore it

    def closed(self, error: ConnectionLostError) -> None:
        proven = self._published > 0 and 1 not in self.unconfirmed
        unconfirmed = tuple(self.unconfirmed.values())
        self.unconfirmed.clear()
        feeds = list(self._feeds.values())
        self._feeds.clear()
        if self.session.learn_max_message(self.close_code, self.close_text):
            limit = self.session.max_message
            assert limit is not None
            self._caller.update()
            for correlation_id, size in feeds:
                if size > limit:
                    why = too_large("a message of its upload", size, limit)
                    self._events.feed_refused(correlation_id, ContentRejectedError, why)
            self._events.too_large(limit, unconfirmed)
            self._events.lost(error, unconfirmed)
            self._caller.reopen(self.session)
        elif self.user_id_refused and self._unproven is not None:
            # It has refused the first message, and dropped all that came after it.
            self._caller.send_nameless(self._unproven, self.session)
        elif self.close_code != ACCESS_REFUSED:
            self._caller.update()
            self._events.lost(error, unconfirmed)
            self.session.fail(error)
        elif (refused := self._caller.refused_routes.learn(self.session, self.close_text, error)) is not None:
            key, refusal = refused
            _limited.log(
                "the broker refuses what this client sends", logging.ERROR, "%s", refusal,
                extra=log_fields("channel.refused", peer=self.session.endpoint, error=refusal),
            )  # fmt: skip
            self._caller.update()
            if key.startswith(STREAM_PREFIX.decode()):
                for correlation_id, _ in feeds:
                    self._events.feed_refused(correlation_id, NoRouteError, str(refusal))
            self._events.not_permitted(key.removeprefix(CANCEL_PREFIX), refusal, unconfirmed)
            self._events.lost(ConnectionLostError(str(refusal)), unconfirmed)
            self._caller.reopen(self.session)
        elif self.reply_to:  # else opening it fails with this error
            refusal = permission_error(self.session.endpoint, self.session.names.exchange, "every call", error)
            self._caller.refuse(refusal, self.session, proven=proven)
            self._events.lost(refusal, unconfirmed)

    def cancelled(self) -> None:
        self._close(ConnectionLostError("the reply queue was deleted on the broker"))

    def flow_changed(self) -> None:
        self._caller.update()
