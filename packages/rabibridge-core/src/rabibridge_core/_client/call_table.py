"""The table of pending calls: what the transport reports about them, and how each of them ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rabibridge_core._client.admission import AdmissionLimiter
from rabibridge_core._client.cancel_budget import CancelBudget
from rabibridge_core._client.idempotency import IdempotencyKeys
from rabibridge_core._client.ids import correlation_ids
from rabibridge_core._client.refusals import RefusalHandler
from rabibridge_core._client.resend import ResendQueue
from rabibridge_core._client.routes import ClassRoutes
from rabibridge_core._client.silence import SilentServices
from rabibridge_core._client.stream_cancel import cancel_run
from rabibridge_core._client.timeouts import expired_call_error
from rabibridge_core._concurrency.deadlines import DeadlineWheel
from rabibridge_core._concurrency.forks import call_after_fork
from rabibridge_core._protocol.broker_texts import too_large
from rabibridge_core._protocol.headers import REFUSAL
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import (
    CallError,
    ConfigurationError,
    ConnectionLostError,
    ContentRejectedError,
    DeadlineTooShortError,
    NoRouteError,
)
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Collection

    from rabibridge_core._client.pending import PendingCall
    from rabibridge_core.transport import Caller, FeedRefusal, Refusal

__all__ = ["BroadcastEvents", "CallTable"]

_log = get_logger(__name__)
_CONFIRMED = Reply(b"", None, None)
"""What ends a notification."""


class BroadcastEvents(Protocol):
    """What the table reports to a broadcast.

    Attributes:
        routing_key: the routing key of its service; empty before it is sent.
    """

    routing_key: str

    def replied(self, reply: Reply, /) -> bool:
        """Called for each reply to it; returns whether it takes it."""
        ...

    def confirmed(self) -> None:
        """Called when the broker has accepted it."""
        ...

    def refused(self, refusal: Refusal, /) -> None:
        """Called when the broker has not accepted it, for one worker or for all."""
        ...

    def lost(self, error: ConnectionLostError | ConfigurationError, /) -> None:
        """Called when replies to it can no longer arrive."""
        ...


class CallTable:
    """The pending calls of one client. It implements :class:`rabibridge_core.transport.CallerEvents`.

    A call is in the table from before it is sent until its task has its outcome: a reply, a refusal, a timeout, the
    cancellation of the task, or the loss of the connection. A call that is sent again stays in the table meanwhile.

    Attributes:
        pending: the calls by correlation id.
        broadcasts: the broadcasts by correlation id.
        caller: sends them; ``None`` while the client is not connected.
        closed: whether the client is closed; no lost call is sent again then.
        stray_replies: the number of replies that matched no pending call: late, duplicate or forged ones.
        refused_feeds: the number of further messages of calls that the broker has refused.
        admission: makes calls wait while too many are pending.
        idempotency: keys of calls that may run twice.
        refusals: decides what happens to refused calls.
        silent: services that have not answered in time.
        classes: the classes of criticality that services do not have.
        deadlines: ends calls that run out of time; set by :meth:`start`.
    """

    def __init__(self, *, max_pending: int, name: str) -> None:
        """Start empty.

        Args:
            max_pending: the number of calls that may be pending at a time.
            name: the name of the client in logs and errors.
        """
        self.pending: dict[bytes, PendingCall] = {}
        self.broadcasts: dict[bytes, BroadcastEvents] = {}
        self.caller: Caller | None = None
        self.closed = False
        self.stray_replies = 0
        self.refused_feeds = 0
        self.admission = AdmissionLimiter(max_pending, self.pending)
        self.idempotency = IdempotencyKeys()
        self.classes = ClassRoutes()
        self.silent = SilentServices(self.classes)
        self._resend = ResendQueue(self.pending, self.idempotency, name)
        self.refusals = RefusalHandler(self._resend, name)
        self.deadlines: DeadlineWheel[bytes]
        self.ids = correlation_ids()
        """The ids of calls; drawn anew by :meth:`start`."""
        self._name = name
        self._cancels = CancelBudget()

    def start(self, loop: asyncio.AbstractEventLoop) -> DeadlineWheel[bytes]:
        """Accept calls on this event loop from now on; return what arms their deadlines."""
        call_after_fork(self)
        self.deadlines = DeadlineWheel[bytes](loop, self._expired)
        self.ids = correlation_ids()  # the process may have been forked since this table was made
        self.idempotency.draw()
        return self.deadlines

    def after_fork(self) -> None:
        """Called in a forked child: send nothing more, since the connection is that of the parent."""
        self.caller = None

    @property
    def sends_at_once(self) -> bool:
        """Whether a call can be sent now, without waiting for the connection or for other calls."""
        caller = self.caller
        return caller is not None and not caller.paused and len(self.pending) < self.admission.limit

    def free_id(self, correlation_id: bytes) -> bytes:
        """Return the next id that no pending call has."""
        while correlation_id in self.pending or correlation_id in self.broadcasts:
            correlation_id = next(self.ids)
        return correlation_id

    def abandon(self, call: PendingCall, error: BaseException) -> None:
        """Called when a call has failed: cancel it on its workers if its task was cancelled.

        An error that says that the call did not run is corrected if an earlier attempt may have run.
        """
        if call.future.cancelled():
            if call.wants_reply:
                self.cancel(call)
            return
        if type(error) is DeadlineTooShortError:
            error.timeout = call.timeout or 0.0
        if call.lost is not None:
            if isinstance(error, CallError) and error.executed is False:
                error.executed = None
            error.add_note(f"It was sent before, and may have run then: {call.lost}")

    def replied(self, correlation_id: bytes, reply: Reply, /) -> None:
        """Called by the transport for each reply."""
        call = self.pending.get(correlation_id)
        if call is None or (future := call.future).done():
            broadcast = self.broadcasts.get(correlation_id)
            if broadcast is None or not broadcast.replied(reply):
                self.stray_replies += 1
                cancel_run(self.caller, correlation_id, reply)
        elif not (reply.headers and REFUSAL in reply.headers and self.refusals.takes(call, reply)):
            future.set_result(reply)

    def confirmed(self, correlation_id: bytes, /) -> None:
        """Called by the transport for each notification and broadcast that the broker has accepted."""
        call = self.pending.get(correlation_id)
        if call is not None and not call.future.done():
            call.future.set_result(_CONFIRMED)
        elif (broadcast := self.broadcasts.get(correlation_id)) is not None:
            broadcast.confirmed()

    def refused(self, correlation_id: bytes, refusal: Refusal, detail: str, /) -> None:
        """Called by the transport for each request that the broker did not accept."""
        call = self.pending.get(correlation_id)
        if call is not None and not call.future.done():
            if not (issubclass(refusal, NoRouteError) and self._sent_otherwise(call)):
                self.refusals.refused(call, refusal, detail)
        elif (broadcast := self.broadcasts.get(correlation_id)) is not None:
            broadcast.refused(refusal)

    def _sent_otherwise(self, call: PendingCall) -> bool:
        """Send a call whose service does not have the class that it names to the service itself, if it does so."""
        caller = self.caller
        if caller is None:
            return False
        route = self.classes.instead_of(call.request.routing_key, call.future.get_loop())
        if route is None:
            return False
        call.request = call.request._replace(routing_key=route)
        self._resend.again(call, caller)
        return True

    def feed_refused(self, correlation_id: bytes, refusal: FeedRefusal, detail: str, /) -> None:
        """Called by the transport for each further message of a call that the broker did not accept."""
        self.refused_feeds += 1
        if (call := self.pending.get(correlation_id)) is not None:
            call.feed_refused(refusal, detail)

    def not_permitted(self, routing_key: str, error: ConfigurationError, unconfirmed: Collection[bytes], /) -> None:
        """Called by the transport when the user may not send to a routing key."""
        for correlation_id in unconfirmed:
            call, broadcast = self.pending.get(correlation_id), self.broadcasts.get(correlation_id)
            if call is not None and call.request.routing_key == routing_key and not call.future.done():
                call.future.set_exception(ConfigurationError(f"call of {call.func_name!r}: {error}"))
            elif broadcast is not None and broadcast.routing_key in ("", routing_key):
                broadcast.lost(error)

    def too_large(self, limit: int, unconfirmed: Collection[bytes], /) -> None:
        """Called by the transport when the broker has refused a request that is larger than it accepts."""
        for correlation_id in unconfirmed:
            call = self.pending.get(correlation_id)
            if call is not None and (size := len(call.request.body)) > limit and not call.future.done():
                why = too_large("the request", size, limit)
                call.future.set_exception(ContentRejectedError(f"call of {call.func_name!r}: {why}", executed=False))

    def lost(self, error: ConnectionLostError | ConfigurationError, unconfirmed: Collection[bytes], /) -> None:
        """Called by the transport when replies to pending calls can no longer arrive.

        Ends all pending calls except those that will be sent again.
        """
        unknown, ended, again = frozenset(unconfirmed), 0, 0
        gone = error if isinstance(error, ConnectionLostError) and not self.closed else None
        for correlation_id, call in list(self.pending.items()):
            if call.future.done():
                continue
            accepted = correlation_id not in unknown and not self.refusals.waits(call)
            if gone is not None and (
                call in self.refusals or (call.resends and self._resend.take(call, gone, accepted=accepted))
            ):
                again += 1
            else:
                ended += 1
                del self.pending[correlation_id]
                call.end(error, accepted=accepted)
        if ended or again:
            rest = f", {again} will be sent again" if again else ""
            extra = log_fields("client.calls_lost", instance=self._name, count=ended, error=error)
            _log.warning("%s: %d pending calls ended%s: %s", self._name, ended, rest, error, extra=extra)
        self.refusals.backlogs.clear()  # after the loss there is another backlog
        for broadcast in self.broadcasts.values():
            broadcast.lost(error)
        if self.caller is not None:
            self._resend.start(self.caller)
        self.admission.admit()

    async def close(self) -> None:
        """End all pending calls with ConnectionLostError and cancel them on their workers, except persistent ones."""
        caller, self.caller = self.caller, None
        if caller is not None:
            for correlation_id, call in self.pending.items():
                waiting = call.wants_reply and (call.future.cancelled() or not call.future.done())
                if waiting and not call.request.persistent and not self.refusals.waits(call):
                    caller.cancel(call.request.routing_key, correlation_id)
            for correlation_id, broadcast in self.broadcasts.items():
                if broadcast.routing_key:
                    caller.cancel(broadcast.routing_key, correlation_id)
        self.refusals.close(self.pending.values())
        unconfirmed = () if caller is None else caller.unconfirmed
        self.lost(ConnectionLostError(f"{self._name} was closed while the call was pending"), unconfirmed)
        self.admission.open()
        self.silent.end()
        self.classes.forget()
        if caller is not None:
            self.deadlines.clear()
        await self._resend.close()

    def cancel(self, call: PendingCall) -> None:
        """Tell the workers that nobody waits for this call any longer."""
        if self.caller is not None and not self.refusals.waits(call):
            self.caller.cancel(call.request.routing_key, call.request.correlation_id)

    def _expired(self, correlation_id: bytes) -> None:
        call = self.pending.get(correlation_id)
        if call is None or call.future.done():
            return
        caller, waits = self.caller, self.refusals.waits(call)
        if caller is None or caller.paused or waits or not call.silent:
            why_paused = caller.why_paused if caller is not None else ""
            call.future.set_exception(expired_call_error(call, waits=waits, why=why_paused))
        else:

            def end(why: str) -> None:
                if not call.future.done():
                    call.future.set_exception(expired_call_error(call, waits=False, why=why))

            self.silent.explain(call, caller, end)
        if not call.wants_reply:
            return
        # The broker and its worker drop it by themselves, if it reached them in time.
        if self._cancels.spend(call.future.get_loop().time()):
            self.cancel(call)
