"""The worker's side: what arrives is opened, and only then given to the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rabibridge_core._protocol.headers import ERROR_KEY_ID
from rabibridge_core._protocol.payloads import encode_failure
from rabibridge_core._protocol.remote_errors import REFUSALS
from rabibridge_core._security.cancels import open_cancel
from rabibridge_core._security.copies import came_again, vouch_for
from rabibridge_core._security.guard import ReplayedError
from rabibridge_core._security.requests import OpenedBroadcast, OpenedControl, OpenedRequest
from rabibridge_core._security.signature import SIGNATURE, Content
from rabibridge_core.errors import KeyUnknownError, SignatureError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core._security.requests import ReplySealer
    from rabibridge_core.errors import ConnectionLostError, ContentRejectedError
    from rabibridge_core.transport import (
        ConsumerEvents,
        ControlRequest,
        Headers,
        IncomingBroadcast,
        IncomingRequest,
        Reply,
        ServiceQueue,
    )

__all__ = ["GuardedEvents", "guarded_control", "kind_of"]

_SMALL: Final = 4000
"""No broker refuses a reply of so few bytes."""
_new_tuple = tuple.__new__  # takes half the time of the constructor of a NamedTuple
_LATE_MAX: Final = 64
"""How many large replies may be on their way while the broker can still refuse one."""


def kind_of(error: SignatureError) -> str:
    """Return how a reply says why a request is refused."""
    return next(kind for kind, (cls, _) in REFUSALS.items() if cls is type(error))


def _content(message: IncomingRequest | ControlRequest) -> Content:
    return _new_tuple(Content, (message.body, message.content_type, message.content_encoding, message.headers))


class GuardedEvents:
    """Stands between a transport and the engine of one service."""

    def __init__(self, queue: ServiceQueue, events: ConsumerEvents, sealer: ReplySealer) -> None:
        """Pass on to ``events`` what arrives for the service of ``queue``."""
        self._queue = queue
        self._events = events
        self._sealer = sealer
        self._guard = sealer.guard
        self._held: dict[int, OpenedRequest] = {}
        self._by_call: dict[tuple[bytes, bytes], OpenedRequest] = {}
        self._late: dict[int, OpenedRequest] = {}

    def received(self, request: IncomingRequest, /) -> None:
        """Called for each request."""
        if SIGNATURE not in request.headers:
            refusal = self._guard.refuses_unsigned(request.content_type)
            if refusal is None:
                self._events.received(request)
            else:
                self._refuse(request, refusal)
            return
        try:
            opened = self._guard.open(
                "request",
                request.correlation_id,
                _content(request),
                targets=self._queue.routing_keys,
                reply_address=request.reply_address,
                persistent=request.persistent,
            )
            try:
                self._guard.admit(opened)
            except ReplayedError as replayed:
                if not came_again(self._guard, request, self._queue.name):
                    self._guard.refusals.add("replayed", f"a request for {self._queue.name}: {replayed}; it is dropped")
                    request.discard()
                    return
        except SignatureError as error:
            self._refuse(request, error)
        else:
            passed = OpenedRequest(request, opened, self._sealer, self)
            self._held[id(request)] = self._by_call[request.caller, request.correlation_id] = passed
            self._events.received(passed)

    def _refuse(self, request: IncomingRequest, error: SignatureError, *, broadcast: bool = False) -> None:
        kind = kind_of(error)
        self._guard.refusals.add(kind, f"a request for {self._queue.name}: {error}")
        if request.wants_reply and not broadcast:
            request.reply(self._refusal(request, error))
        elif isinstance(error, KeyUnknownError):  # the order of a rotation was wrong, and nobody else would notice
            request.dead_letter(f"its signature was not checked: {error}")
        else:
            request.discard()

    def _refusal(self, request: IncomingRequest, error: SignatureError) -> Reply:
        headers: Headers = {ERROR_KEY_ID: error.key_id} if error.key_id else {}
        reply = encode_failure(self._sealer.codec, request, error, kind_of(error), headers, unsendable=_ignore)
        return self._sealer.sealed_somehow(request, reply, "")

    def _end(self, passed: OpenedRequest, error: SignatureError) -> None:
        """End a call whose key is gone: no further message of its caller can be opened."""
        del self._by_call[passed.caller, passed.correlation_id]
        if passed.wants_reply and not passed.void:
            # Not reply(): the request is settled when its function has ended.
            passed.received.reply_part(self._refusal(passed.received, error))
        self._events.cancelled(passed.caller, passed.correlation_id, passed.user)

    def broadcast_received(self, request: IncomingBroadcast, /) -> None:
        """Called for each broadcast to the service."""
        if SIGNATURE not in request.headers:
            refusal = self._guard.refuses_unsigned(request.content_type)
            if refusal is None:
                self._events.broadcast_received(request)
            else:
                self._refuse(request, refusal, broadcast=True)
            return
        try:
            opened = self._guard.open(
                "broadcast",
                request.correlation_id,
                _content(request),
                targets=self._queue.routing_keys,
                reply_address=request.reply_address,
            )
            self._guard.admit(opened, self._queue.name)
        except ReplayedError as replayed:
            self._guard.refusals.add("replayed", f"a broadcast to {self._queue.name}: {replayed}; it is dropped")
            request.discard()
        except SignatureError as error:
            self._refuse(request, error, broadcast=True)
        else:
            self._events.broadcast_received(OpenedBroadcast(request, opened, self._sealer, self))

    def settled(self, request: OpenedRequest, size: int) -> None:
        """Called when a request that was passed on is settled."""
        received = id(request.received)
        held = self._held.pop(received, None)
        if held is None:
            return
        call = request.caller, request.correlation_id
        if self._by_call.get(call) is request:
            del self._by_call[call]
        if size > _SMALL:
            self._late[received] = request
            while len(self._late) > _LATE_MAX:
                del self._late[next(iter(self._late))]

    def reply_refused(self, request: IncomingRequest, error: ContentRejectedError, /) -> None:
        """Called when the broker does not accept the reply to a request because of its size."""
        passed = self._held.get(id(request)) or self._late.pop(id(request), None)
        self._events.reply_refused(passed or request, error)

    def lost(self, error: ConnectionLostError, /) -> None:
        """Called when a connection or channel is lost."""
        for key, held in list(self._held.items()):
            if held.void:
                del self._held[key]
                self._by_call.pop((held.caller, held.correlation_id), None)
        self._late.clear()
        self._events.lost(error)

    def cancelled(self, caller: bytes, correlation_id: bytes, user: str = "", /) -> None:
        """Called when a caller has cancelled a call."""
        try:
            opened = open_cancel(self._guard, correlation_id, self._queue.routing_keys)
        except SignatureError as error:
            self._guard.refusals.add(kind_of(error), f"a cancellation for {self._queue.name}: {error}")
            return
        if opened is not None:
            self._events.cancelled(caller, opened, user)
        elif self._guard.refuses_unsigned(None) is None or not correlation_id:
            self._events.cancelled(caller, correlation_id, user)
        else:
            self._guard.refusals.add("signature", f"a cancellation for {self._queue.name} is not signed")

    def fed(self, caller: bytes, correlation_id: bytes, message: Reply, user: str = "", /) -> None:
        """Called with a further message of a call."""
        passed = self._by_call.get((caller, correlation_id))
        if SIGNATURE not in (message.headers or {}):
            refusal = self._guard.refuses_unsigned(message.content_type)
            if refusal is not None or passed is not None:  # a call that was signed has no unsigned messages
                why = refusal or "it is not signed, and its call is"
                self._guard.refusals.add("signature", f"a message to {self._queue.name}: {why}")
                return
            self._events.fed(caller, correlation_id, message, user)
            return
        try:
            targets = None if passed is None else (passed.address,)
            opened = self._guard.open("feed", correlation_id, message, targets=targets)
        except SignatureError as error:
            self._guard.refusals.add(kind_of(error), f"a message to {self._queue.name}: {error}")
            if passed is not None and isinstance(error, KeyUnknownError) and error.key_id in passed.key_ids:
                self._end(passed, error)
            return
        self._events.fed(caller, correlation_id, opened.content, user)

    def caller_gone(self, caller: bytes, /) -> None:
        """Called when a caller's connection is gone."""
        self._events.caller_gone(caller)

    def vouch_for(self, request: IncomingRequest, /) -> Headers:
        """Return what a copy of a request must carry to be recognised as one."""
        return vouch_for(self._guard, request, self._queue.name)


def guarded_control(
    key: str, received: Callable[[ControlRequest], None], sealer: ReplySealer
) -> Callable[[ControlRequest], None]:
    """Return what opens control requests before they are passed on to ``received``."""
    guard = sealer.guard

    def opened_first(request: ControlRequest) -> None:
        if SIGNATURE not in request.headers:
            refusal = guard.refuses_unsigned(request.content_type)
            if refusal is None:
                received(request)
            else:
                guard.refusals.add("signature", f"a control request: {refusal}")
            return
        try:
            opened = guard.open(
                "broadcast",
                request.correlation_id,
                _content(request),
                targets=(key,),
                reply_address=request.reply_address,
            )
            guard.admit(opened, key)
        except ReplayedError as replayed:
            guard.refusals.add("replayed", f"a control request: {replayed}; it is dropped")
        except SignatureError as error:
            guard.refusals.add(kind_of(error), f"a control request: {error}")
        else:
            received(OpenedControl(request, opened, sealer))

    return opened_first


def _ignore(error: BaseException) -> None:
    """The headers of the failure say enough."""
