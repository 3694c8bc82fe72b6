"""The caller's side: what is sent is sealed, and the replies are opened before the engine sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._protocol.headers import ERROR_KEY_ID
from rabibridge_core._protocol.remote_errors import failure_headers
from rabibridge_core._protocol.streams import PART
from rabibridge_core._reporting.error_text import class_names
from rabibridge_core._security.cancels import sign_cancel
from rabibridge_core._security.signature import SIGNATURE, Content
from rabibridge_core.errors import ConfigurationError, KeyUnknownError, SignatureError
from rabibridge_core.transport import Reply, Request

if TYPE_CHECKING:
    from collections.abc import Collection

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._security.guard import Guard
    from rabibridge_core._security.signature import Direction
    from rabibridge_core.transport import Caller, CallerEvents

__all__ = ["GuardedCaller", "GuardedCallerEvents"]

_STREAMS_MAX = 16_384
_new_tuple = tuple.__new__  # takes half the time of the constructor of a NamedTuple


class GuardedCaller:
    """Seals what a caller sends. Each sending is signed anew: a request that is sent again is another message."""

    def __init__(self, caller: Caller, guard: Guard) -> None:
        """Send with ``caller``."""
        self._caller = caller
        self._guard = guard

    @property
    def paused(self) -> bool:
        """Whether :meth:`writable` must be awaited before the next :meth:`send`."""
        return self._caller.paused

    @property
    def why_paused(self) -> str:
        """The reason for the pause."""
        return self._caller.why_paused

    @property
    def unconfirmed(self) -> Collection[bytes]:
        """The requests that the broker has not confirmed yet."""
        return self._caller.unconfirmed

    @property
    def reply_address(self) -> bytes:
        """Where replies go."""
        return self._caller.reply_address

    async def writable(self) -> None:
        """Wait until requests can be sent."""
        await self._caller.writable()

    def send(self, request: Request, /) -> None:
        """Send one request."""
        self._caller.send(self._sealed("request", request, self._caller.reply_address))

    def notify(self, request: Request, /) -> None:
        """Send one request that wants no reply."""
        self._caller.notify(self._sealed("request", request, b""))

    def broadcast(self, request: Request, /) -> None:
        """Send one request to every worker of a service."""
        self._caller.broadcast(self._sealed("broadcast", request, self._caller.reply_address))

    def feed(self, request: Request, /) -> None:
        """Send a further message of a call."""
        self._caller.feed(self._sealed("feed", request, None))

    def _sealed(self, direction: Direction, request: Request, reply_address: bytes | None) -> Request:
        route, correlation_id, body, content_type, content_encoding, timeout, headers, persistent = request
        sealed = self._guard.seal(
            direction,
            correlation_id,
            _new_tuple(Content, (body, content_type, content_encoding, headers)),
            target=route,
            reply_address=reply_address,
            persistent=persistent and direction == "request",
            timeout=timeout,
        )
        return _new_tuple(Request, (route, correlation_id, *sealed[:3], timeout, sealed.headers, persistent))

    async def look(self, queue: str, /) -> tuple[int, int] | None:
        """Return how many consumers and how many waiting requests a queue has."""
        return await self._caller.look(queue)

    def cancel(self, routing_key: str, correlation_id: bytes, /) -> None:
        """Tell the workers of a service that the caller no longer waits for this request."""
        guard = self._guard
        try:
            cancel = sign_cancel(guard, routing_key, correlation_id)
        except ConfigurationError as error:
            guard.refusals.add("unsealed", f"a cancellation cannot be signed: {error}")
            return
        if cancel:
            self._caller.cancel(routing_key, cancel)
        if not (guard.rules.require_signature or guard.rules.require_encryption):
            self._caller.cancel(routing_key, correlation_id)  # for workers that know no signatures


class GuardedCallerEvents:
    """Stands between a transport and the engine of a client."""

    def __init__(self, events: CallerEvents, guard: Guard, codec: Codec) -> None:
        """Pass on to ``events`` what arrives."""
        self._events = events
        self._guard = guard
        self._codec = codec
        self.refused = events.refused
        self.feed_refused = events.feed_refused
        self.confirmed = events.confirmed
        self.not_permitted, self.too_large = events.not_permitted, events.too_large
        self.lost = events.lost
        self._signed: dict[bytes, str] = {}
        """The streams of which a part was signed rightly, the last one heard at the end, and with which key."""

    def replied(self, correlation_id: bytes, reply: Reply, /) -> None:
        """Called for each reply.

        One that is refused ends its call, since most likely its worker has other keys. But a stream of which a part was
        signed rightly has a worker that signs: what is refused then was changed on the way or comes from somebody else,
        who must not end it. It is counted and ignored, unless the key of the parts before is gone.
        """
        signed = self._signed
        try:
            if SIGNATURE in (reply.headers or {}):
                opened = self._guard.open("reply", correlation_id, reply)
                reply = opened.content
                known = signed.pop(correlation_id, None) if signed else None
                if reply.headers is not None and PART in reply.headers:
                    signed[correlation_id] = opened.claims.key_id
                    if known is None and len(signed) > _STREAMS_MAX:
                        del signed[next(iter(signed))]
            elif (refusal := self._guard.refuses_unsigned(reply.content_type)) is not None:
                raise refusal
        except SignatureError as error:
            key_id = signed.get(correlation_id)
            if key_id is not None and not (isinstance(error, KeyUnknownError) and error.key_id == key_id):
                self._guard.refusals.add(_kind(error), f"a message to a stream: {error}; it is ignored")
                return
            signed.pop(correlation_id, None)
            reply = self._refused(error)
        self._events.replied(correlation_id, reply)

    def _refused(self, error: SignatureError) -> Reply:
        """Return what takes the place of a reply that is refused: the call ends with the error."""
        kind = _kind(error)
        self._guard.refusals.add(kind, f"a reply: {error}")
        text = str(error)
        headers = failure_headers(kind, class_names(type(error)), text)
        if error.key_id:
            headers[ERROR_KEY_ID] = error.key_id
        return Reply(*self._codec.encode([1, text]), headers)


def _kind(error: SignatureError) -> str:
    return "reply-key" if isinstance(error, KeyUnknownError) else "reply-signature"
