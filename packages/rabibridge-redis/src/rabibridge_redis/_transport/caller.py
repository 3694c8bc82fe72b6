"""The end of a transport that sends requests and hears what becomes of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import hiredis

from rabibridge_core._protocol.broadcasts import BROADCAST_MAX, broadcast_too_large
from rabibridge_core._protocol.broker_texts import NO_ROUTE, QUEUE_FULL, WORKER_GONE, too_large
from rabibridge_core.errors import ConnectionLostError, ContentRejectedError, NoRouteError, QueueFullError
from rabibridge_core.transport import Reply
from rabibridge_redis._resp.refusals import is_blocked, permission_error
from rabibridge_redis._resp.wire import FED, encode_message, encode_request, pack
from rabibridge_redis._transport.batches import RequestBatch
from rabibridge_redis._transport.declaration import look_at_queue

if TYPE_CHECKING:
    from collections.abc import Collection

    from rabibridge_core.errors import ConfigurationError
    from rabibridge_core.transport import CallerEvents, Request
    from rabibridge_redis._session.session import Session

__all__ = ["CallerHost", "RedisCaller"]

_FULL = 0
_ADDRESS = "stream:"


class CallerHost(Protocol):
    """What a caller uses of its transport.

    Attributes:
        max_message_size: the largest body that is sent, in bytes.
        name: the name of the transport, used in errors.
    """

    max_message_size: int
    name: str

    @property
    def session(self) -> Session | None:
        """The session; ``None`` while there is none."""
        ...

    @property
    def last_error(self) -> Exception | None:
        """Why there is none."""
        ...

    def why_blocked(self) -> str:
        """Return why the server accepts nothing new for now; empty: it does."""
        ...

    async def wait_writable(self) -> None:
        """Wait for a session on which requests can be sent."""
        ...

    def hold(self, caller: RedisCaller, request: Request, wants_reply: bool, error: hiredis.ReplyError, /) -> None:
        """Send a request again once the server accepts new ones."""
        ...


class RedisCaller:
    """Sends requests, and reports to ``events`` what becomes of them.

    The requests of one turn of the event loop that have one routing key are queued in one step.

    Attributes:
        number: tells several callers of one transport apart.
    """

    def __init__(self, host: CallerHost, events: CallerEvents, number: int) -> None:
        """Prepare to send requests."""
        self.events, self.number = events, number
        self._host = host
        self._unconfirmed: set[bytes] = set()
        self._reported: set[bytes] = set()
        self._address = b""
        self._batches: dict[str, RequestBatch] = {}
        self.connected()

    def connected(self) -> None:
        """Called with each new session: replies go there from now on."""
        session = self._host.session
        self._address = b"" if session is None else b"%b.%d" % (session.token.encode(), self.number)

    @property
    def reply_address(self) -> bytes:
        """Where its replies go; empty without a connection."""
        return self._address

    @property
    def paused(self) -> bool:
        """Whether there is no connection, or the server reads too slowly or accepts nothing new."""
        session = self._host.session
        return session is None or session.commands.paused or bool(self._host.why_blocked())

    @property
    def why_paused(self) -> str:
        """Which of these."""
        session = self._host.session
        if session is None:
            return f"there is no connection: {self._host.last_error or 'the transport is closed'}"
        return self._host.why_blocked() or ("the server reads too slowly" if session.commands.paused else "")

    @property
    def unconfirmed(self) -> Collection[bytes]:
        """The requests that the server has not confirmed."""
        return frozenset(self._unconfirmed)

    async def writable(self) -> None:
        """Wait until requests can be sent.

        Raises:
            ConnectionLostError: the transport is closed; ``executed`` is ``False``.
        """
        await self._host.wait_writable()

    def send(self, request: Request, /) -> None:
        """Send one request.

        Raises:
            ConnectionLostError: there is no connection; ``executed`` is ``False``.
            ContentRejectedError: the body is too large.
        """
        self._publish(self._sending(request, "the request"), request, wants_reply=True)

    def notify(self, request: Request, /) -> None:
        """Send one request that wants no reply, and report when the server has it.

        Raises:
            ConnectionLostError: as :meth:`send`.
            ContentRejectedError: as :meth:`send`.
        """
        session = self._sending(request, "the request")
        self._reported.add(request.correlation_id)
        self._publish(session, request, wants_reply=False)

    def _sending(self, request: Request, what: str) -> Session:
        session = self._host.session
        if session is None or session.error is not None:
            raise ConnectionLostError(f"{self._host.name} has no connection: nothing was sent", executed=False)
        size, limit = len(request.body), self._host.max_message_size
        if size > limit:
            raise ContentRejectedError(too_large(what, size, limit))
        return session

    def _publish(self, session: Session, request: Request, *, wants_reply: bool) -> None:
        self._unconfirmed.add(request.correlation_id)
        key, timeout = request.routing_key, request.timeout
        if not self._batches:
            session.commands.before_write(self._publish_all)
        if (batch := self._batches.get(key)) is None:
            batch = self._batches[key] = RequestBatch()
        ttl_ms = "" if timeout is None else math.ceil(timeout * 1000)
        if batch.add(request, wants_reply, ttl_ms, encode_request(request, self._address, wants_reply=wants_reply)):
            del self._batches[key]
            session.run("publish", self._published, batch.requests, key, *batch.arguments)

    def _publish_all(self) -> None:
        batches, self._batches = self._batches, {}
        if (session := self._host.session) is not None:
            for key, batch in batches.items():
                session.run("publish", self._published, batch.requests, key, *batch.arguments)

    def publish_again(self, request: Request, wants_reply: bool) -> None:
        """Send a request that the server did not accept at first."""
        session = self._host.session
        if session is not None and request.correlation_id in self._unconfirmed:
            self._publish(session, request, wants_reply=wants_reply)

    def _published(self, requests: list[tuple[Request, bool]], reply: Any) -> None:
        if isinstance(reply, hiredis.ReplyError):
            for request, wants_reply in requests:
                self._refused(request, wants_reply, reply)
            return
        queued, why = reply
        for request, wants_reply in requests[:queued]:
            self._unconfirmed.discard(request.correlation_id)
            if not wants_reply:
                self._reported.discard(request.correlation_id)
                self.events.confirmed(request.correlation_id)
        for request, _ in requests[queued:]:
            self._unconfirmed.discard(request.correlation_id)
            self._reported.discard(request.correlation_id)
            if why == _FULL:
                self.events.refused(request.correlation_id, QueueFullError, QUEUE_FULL)
            else:
                self.events.refused(request.correlation_id, NoRouteError, NO_ROUTE)

    def _refused(self, request: Request, wants_reply: bool, error: hiredis.ReplyError) -> None:
        if is_blocked(error):
            self._host.hold(self, request, wants_reply, error)
            return
        self._unconfirmed.discard(request.correlation_id)
        self._reported.discard(request.correlation_id)
        what = f"requests to {request.routing_key!r}"
        self.events.not_permitted(request.routing_key, permission_error(error, what), [request.correlation_id])

    def broadcast(self, request: Request, /) -> None:
        """Send one request to every worker of its service.

        Raises:
            ConnectionLostError: as :meth:`send`.
            ContentRejectedError: the body is larger than that of a broadcast may be.
        """
        if len(request.body) > BROADCAST_MAX:
            raise ContentRejectedError(broadcast_too_large(len(request.body)))
        session = self._sending(request, "the broadcast")
        self._unconfirmed.add(request.correlation_id)
        meta = encode_request(request, self._address, wants_reply=True)
        channel = session.channel("b", request.routing_key)
        session.commands.send(self._was_broadcast, request, "PUBLISH", channel, pack(meta, request.body))

    def _was_broadcast(self, request: Request, reply: Any) -> None:
        correlation_id = request.correlation_id
        self._unconfirmed.discard(correlation_id)
        if isinstance(reply, hiredis.ReplyError):
            self._refused(request, True, reply)
        elif reply == 0:
            self.events.refused(correlation_id, NoRouteError, NO_ROUTE)
        else:
            self.events.confirmed(correlation_id)

    def feed(self, request: Request, /) -> None:
        """Send a further message of a call to the worker that processes it.

        Raises:
            ConnectionLostError: as :meth:`send`.
            ContentRejectedError: as :meth:`send`.
        """
        session = self._sending(request, "the message")
        message = Reply(request.body, request.content_type, request.content_encoding, request.headers)
        meta = encode_message(FED, b"", request.correlation_id, message, self._address)
        inbox = session.key("i", request.routing_key.removeprefix(_ADDRESS))
        session.commands.send(
            self._was_fed, request.correlation_id, "XADD", inbox, "NOMKSTREAM", "*", "m", meta, "b", request.body
        )

    def _was_fed(self, correlation_id: bytes, reply: Any) -> None:
        if reply is None:
            self.events.feed_refused(correlation_id, NoRouteError, WORKER_GONE)
        elif isinstance(reply, hiredis.ReplyError):
            self.events.feed_refused(correlation_id, QueueFullError, str(reply))

    async def look(self, queue: str, /) -> tuple[int, int] | None:
        """Return the number of consumers and of waiting requests of a queue.

        Raises:
            ConnectionLostError: there is no connection.
        """
        return await look_at_queue(self._host.session, self._host.name, queue)

    def cancel(self, routing_key: str, correlation_id: bytes, /) -> None:
        """Tell the workers of a service that this call was cancelled; without effect without a connection."""
        session = self._host.session
        if session is not None and session.error is None:
            self._publish_all()  # the request comes first
            channel = session.channel("x", routing_key)
            session.commands.send(None, None, "PUBLISH", channel, pack(self._address, correlation_id))

    def lost(self, error: ConnectionLostError | ConfigurationError) -> None:
        """Called when the session is lost: report it with the requests that the server had not confirmed."""
        unconfirmed, self._unconfirmed = self._unconfirmed, set()
        self._reported.clear()
        self._batches.clear()
        self._address = b""
        self.events.lost(error, unconfirmed)

    def replied(self, correlation_id: bytes, reply: Reply) -> None:
        """Called with a reply."""
        self.events.replied(correlation_id, reply)
