"""The end of a transport that takes requests from a queue and answers them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import hiredis

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_redis._resp.refusals import is_blocked
from rabibridge_redis._resp.wire import MalformedError, decode_request
from rabibridge_redis._transport.delivery import Broadcast, Delivery
from rabibridge_redis._transport.fetch_sizes import FetchSizes
from rabibridge_redis._transport.insisting import insist
from rabibridge_redis._transport.reply_limits import reply_refusal

if TYPE_CHECKING:
    from rabibridge_core.errors import ConnectionLostError, ContentRejectedError
    from rabibridge_core.transport import ConsumerEvents, Reply, ServiceQueue
    from rabibridge_redis._session.session import Session
    from rabibridge_redis._transport.interfaces import ConsumerHost

__all__ = ["RedisConsumer"]

_log = get_logger(__name__)
_NO_QUEUE, _LEASE_ENDED = -1, -2
_RETRY = 0.25  # seconds until a server that has no memory or disk is asked again
_MOST_SETTLED, _MOST_RETURNED = 1000, 200  # in one step: the server does nothing else meanwhile
_ACTIVE, _FINISHING, _GONE = "1", "0", ""


class RedisConsumer(FetchSizes):
    """Takes requests from one queue, at most ``fetch_size`` at a time.

    What is settled in one turn of the event loop is reported in one step, in which as many others are taken. A consumer
    with places free is known to the server as idle, and woken when something arrives.

    Attributes:
        spec: the queue as requested.
        error: why no requests arrive, if trying again does not help.
        stopped: whether it takes no more.
        interrupted: whether it had requests in hand when the session was lost, and its server was not told yet.
    """

    def __init__(self, host: ConsumerHost, spec: ServiceQueue, events: ConsumerEvents, number: int) -> None:
        """Create a consumer that reports to ``events`` once :meth:`start` was called; ``number`` is unique."""
        self.spec, self.events = spec, events
        self.error: Exception | None = None
        self.stopped = self.interrupted = False
        self.session: Session | None = None
        self.unsettled, self.answering = dict[Delivery, None](), dict[Delivery, None]()
        self._host, self._number = host, number
        self._loop = asyncio.get_running_loop()
        self._settled: list[bytes] = []
        self._asked = 0  # how many were asked for and have not come
        self._idle = False  # the server knows that there are places free
        self._more = False  # it has told so before what was asked for came
        self._scheduled, self._epoch, self._state = False, 0, _GONE
        self._nothing_asked = asyncio.Event()
        self._nothing_asked.set()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.spec.name!r}: {len(self.unsettled)} unsettled>"

    @property
    def live(self) -> bool:
        """Whether requests arrive."""
        return self.session is not None and not self.stopped

    @property
    def name(self) -> str:
        """Its name on the server; empty without a session."""
        return "" if self.session is None else f"{self.session.token}:{self._number}"

    @property
    def address(self) -> str:
        """Where callers send further messages of their calls; empty if the service takes none."""
        return f"stream:{self.session.token}" if self.session is not None and self.spec.streams else ""

    @property
    def busy(self) -> bool:
        """Whether it has requests that are not answered."""
        return bool(self.unsettled or self.answering)

    def start(self, session: Session) -> None:
        """Take requests; called again with each new session, and when the queue was declared again."""
        self.session, self.error = session, None
        self.spec = replace(self.spec, redeclare=False)  # only once: later the queue may be another worker's
        self._idle = False
        session.serves.add(self.spec.name)
        self._join(session, _ACTIVE)
        self._schedule()

    def _join(self, session: Session, state: str) -> None:
        self._state = state
        insist(session, lambda: self._state is state, "join", self.spec.name, self.name, state)

    def queue_deleted(self) -> None:
        """Called when the queue was deleted: what is in hand can be answered, and is in no queue."""
        self._epoch += 1
        self._settled.clear()
        self._asked, self._idle = 0, False  # an answer that is still to come counts no more
        self._nothing_asked.set()

    def disconnect(self, *, for_good: bool) -> None:
        """Called when the session is lost: what is in hand is void, and goes to others."""
        self.session, self.error = None, None
        self._settled.clear()
        self._asked, self._idle, self._scheduled = 0, False, False
        self._nothing_asked.set()
        self.interrupted = self.busy
        for delivery in self.unsettled:
            delivery.void = True
        self.unsettled.clear()
        if for_good:
            for delivery in self.answering:
                delivery.void = True
            self.answering.clear()

    def lost(self, error: ConnectionLostError) -> None:
        """Tell the server that owns it."""
        self.interrupted = False
        self.events.lost(error)

    async def stop(self) -> None:
        """Take no more requests. Unsettled ones can still be settled. Stopping twice has no effect."""
        if self.stopped:
            return
        self.stopped = True
        session = self.session
        if session is not None:
            session.listener.unsubscribe(*(session.channel("b", key) for key in self.spec.routing_keys))
            self._join(session, _FINISHING)
            await self._nothing_asked.wait()
        self._leave_if_done()

    def wake(self) -> None:
        """Called when the server has something for a consumer with places free."""
        self._idle, self._more = False, bool(self._asked)
        self._schedule()

    def _schedule(self) -> None:
        session = self.session
        if not self._scheduled and session is not None:
            self._scheduled = True
            session.commands.before_write(self.flush)

    def flush(self) -> None:
        """Report what was settled, and take as many as there are places free."""
        self._scheduled = False
        session = self.session
        if session is None:
            return
        want = 0
        if not (self.stopped or self._idle or self._asked):
            want = max(self.spec.fetch_size - len(self.unsettled), 0)
        settled = self._settled
        if not (want or settled):
            return
        if settled:
            self._settled = []
            self._host.write_replies()  # they come first: what is settled does not run again
        if want:
            self._asked, self._more = want, False
            self._nothing_asked.clear()
        while len(settled) > _MOST_SETTLED:
            first, settled = settled[:_MOST_SETTLED], settled[_MOST_SETTLED:]
            session.run("settle", self._taken, (session, 0, self._epoch, first), self.spec.name, self.name, 0, *first)
        context = session, want, self._epoch, settled
        session.run("settle", self._taken, context, self.spec.name, self.name, want, *settled)

    def _taken(self, context: tuple[Session, int, int, list[bytes]], reply: Any) -> None:
        session, want, epoch, settled = context
        current = epoch == self._epoch
        if session.error is not None or (current and session is not self.session):
            return
        if want and current:
            self._asked = 0
            self._nothing_asked.set()
        if isinstance(reply, hiredis.ReplyError) and is_blocked(reply):
            self._settled = settled + self._settled if current else self._settled
            self._loop.call_later(_RETRY, self._schedule)
        elif isinstance(reply, hiredis.ReplyError):
            _log.error(
                "the server refuses to give requests from %r: %s", self.spec.name, reply,
                extra=log_fields("queue.refused", queue=self.spec.name),
            )  # fmt: skip
        elif reply == _LEASE_ENDED:
            self._host.lease_ended()
        elif reply == _NO_QUEUE:
            if current:
                self._host.queue_gone(self)
        elif want:
            self._idle = current and len(reply) < want and not self._more
            if self.stopped:
                if reply:
                    self._return([entry[0] for entry in reply], counted=False)
                return
            for entry in reply:
                self._received(*entry)
            if not self._idle:
                self._schedule()

    def _received(self, id_: bytes, deliveries: int, meta: bytes, body: bytes) -> None:
        try:
            envelope = decode_request(meta)
        except MalformedError as error:
            why = "a request in the queue %r cannot be read, and is kept as a dead letter: %s"
            _log.warning(why, self.spec.name, error, extra=log_fields("request.unreadable", queue=self.spec.name))
            self._host.keep_dead(self.spec.name, f"it cannot be read: {error}", deliveries, meta, body)
            self._settled.append(id_)
            self._schedule()
            return
        delivery = Delivery(self, id_, deliveries, envelope, meta, body, self._epoch)
        self.unsettled[delivery] = None
        self.events.received(delivery)

    def broadcast_received(self, broadcast: Broadcast) -> None:
        """Called with a broadcast to this service."""
        if not self.stopped:
            self.events.broadcast_received(broadcast)

    def holds(self, caller: bytes, correlation_id: bytes) -> bool:
        """Tell whether it has this call in hand."""
        return any(
            one.correlation_id == correlation_id and one.caller == caller
            for held in (self.unsettled, self.answering)
            for one in held
        )

    def refusal(self, reply: Reply, /) -> ContentRejectedError | None:
        """Return why a reply cannot be sent; ``None`` if it can."""
        return reply_refusal(reply, self._host.max_message_size)

    def reply_refused(self, delivery: Delivery, error: ContentRejectedError, /) -> None:
        """Ask for another reply, in the next turn of the loop."""
        self._loop.call_soon(self.events.reply_refused, delivery, error)

    def send_reply(self, delivery: Delivery, reply: Reply, /) -> None:
        """Send a reply, now or on the next connection."""
        self._host.send_reply(delivery.caller, delivery.correlation_id, reply)

    def keep_dead(self, delivery: Delivery, reason: str, /) -> None:
        """Store a request among the dead letters."""
        self._host.keep_dead(self.spec.name, reason, delivery.deliveries, delivery.meta, delivery.body)

    def probe(self, delivery: Delivery, /) -> None:
        """Ask whether a caller is still there."""
        self._host.probe(delivery.caller)

    def accepted(self, delivery: Delivery, /) -> None:
        """Called when a request leaves its queue, and its reply is still to come."""
        self._settle(delivery)
        self.answering[delivery] = None

    def settled(self, delivery: Delivery, /) -> None:
        """Called when nothing more will happen to a request."""
        if not delivery.accepted:
            self._settle(delivery)
        self._done(delivery)

    def given_back(self, delivery: Delivery, /) -> None:
        """Put a request back into its queue."""
        self.unsettled.pop(delivery, None)
        if delivery.epoch == self._epoch:
            self._return([delivery.id], counted=True)
        self._schedule()
        self._done(delivery)

    def _settle(self, delivery: Delivery) -> None:
        """Remove a request from its queue, at the end of this turn of the loop, and make room for another."""
        self.unsettled.pop(delivery, None)
        if delivery.epoch == self._epoch:
            self._settled.append(delivery.id)
        self._schedule()

    def _done(self, delivery: Delivery) -> None:
        self.answering.pop(delivery, None)
        if self.stopped:
            self._leave_if_done()

    def _return(self, ids: list[bytes], *, counted: bool) -> None:
        session = self.session
        if session is not None:
            epoch, again = self._epoch, "1" if counted else "0"
            for first in range(0, len(ids), _MOST_RETURNED):
                some = ids[first : first + _MOST_RETURNED]
                insist(session, lambda: self._epoch == epoch, "give_back", self.spec.name, self.name, again, *some)

    def _leave_if_done(self) -> None:
        if self.busy or not self._nothing_asked.is_set():
            return
        session = self.session
        if session is not None:
            self.flush()
            self._join(session, _GONE)
        self._host.forget(self)
