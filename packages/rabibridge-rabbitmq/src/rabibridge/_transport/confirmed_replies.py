"""The channel of a service on a quorum queue: it acknowledges a request once the broker has confirmed its reply.

On one node, the broker handles what arrives on a channel in order: whoever sees the acknowledgement saw the reply. In a
cluster, the two go separate ways: the reply to the node of the caller, the acknowledgement to the leader of the queue.
If the node of the worker is lost at that moment, the acknowledgement may have left it and the reply not, and the call
could only time out. So the channel is in confirm mode. The broker confirms a reply when the queue of the caller has it.

What becomes of replies without a confirm when the channel is lost: the broker redelivers the requests that it holds;
replies to requests that were acknowledged when their functions started leave again on the next channel. The caller
drops what it gets twice. Whoever uses direct reply-to has no queue, and RabbitMQ confirms its replies at once.

Confirms are counted, so everything that is published on the channel passes through here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from rabibridge._amqp.control_methods import CONFIRM_SELECT, CONFIRM_SELECT_OK, CONSUME_OK, QOS_OK, consume, qos
from rabibridge._amqp.frames import count_methods
from rabibridge._amqp.methods import ack, reject
from rabibridge._amqp.properties import Properties
from rabibridge._transport.outgoing_bundles import BundledReply, ReplyBundles
from rabibridge._transport.service_channel import ChannelOwner, ServiceChannel
from rabibridge_core.transport import Reply

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Sequence

    from rabibridge._transport.interfaces import ReplyFrames
    from rabibridge._transport.worker_session import WorkerSession
    from rabibridge_core.errors import ConnectionLostError
    from rabibridge_core.transport import ServiceQueue

__all__ = ["ConfirmedServiceChannel"]

_Settled: TypeAlias = int | tuple[Properties, Reply]
"""A request whose reply was sent: its delivery tag; or what to send again if it is acknowledged; 0: neither."""
_PATIENCE = 5.0
"""Replies without a confirm after one to two times this many seconds are given up: the node of the caller is frozen, or
cut off, and would hold all places of the service until the others have noticed."""


class ConfirmedServiceChannel(ServiceChannel):
    """Receives requests and sends replies; a request counts as unsettled until its reply is confirmed."""

    def __init__(self, worker_session: WorkerSession, consumer: ChannelOwner, queue: ServiceQueue) -> None:
        """Open a channel as a :class:`ServiceChannel`, with the same errors."""
        super().__init__(worker_session, consumer, queue)
        self._published = 0
        self._encoded: tuple[ReplyFrames, Properties, Reply] | None = None  # the last one
        self._bundles = _CountedBundles(self.number, self._bundles_sent)
        self._bundled: dict[bytes, list[_Settled]] = {}  # by address, as the replies that wait for the end of the turn
        self._unconfirmed: dict[int, Sequence[_Settled]] = {}  # by the number of the message, which ascends
        self._timer: asyncio.TimerHandle | None = None
        self._overdue = 0
        """Messages up to this number were sent before the timer started."""
        self._all_confirmed: asyncio.Future[None] | None = None

    async def consume(self) -> None:
        """Receive requests from now on; the errors are those of a :class:`ServiceChannel`."""
        methods = CONFIRM_SELECT, qos(self._queue.fetch_size), consume(self._queue.name, self._tags[0])
        await self.request(methods, CONFIRM_SELECT_OK, QOS_OK, CONSUME_OK)

    def encode_reply(self, properties: Properties, reply: Reply) -> ReplyFrames:
        """Return the frames that send the reply, as a :class:`ServiceChannel` does."""
        frames = super().encode_reply(properties, reply)
        self._encoded = frames, properties, reply
        return frames

    def write(self, frames: ReplyFrames) -> None:
        """Send a message whose confirm nobody waits for; it is dropped if the channel is closed."""
        if self.open:
            self._publish(frames, None)

    def settle(self, frames: ReplyFrames, tag: int) -> None:
        """Send ``frames``; the request is settled when they are confirmed, or at once if there are none."""
        if not (frames and self.open):
            super().settle(frames, tag)
            return
        encoded, self._encoded = self._encoded, None
        settled: _Settled = tag
        if not tag and encoded is not None and encoded[0] is frames:
            settled = encoded[1:]
        self._publish(frames, settled)
        if self._timer is None:
            self._overdue = 0
            self._start_timer()

    def accept(self, tag: int) -> None:
        """Acknowledge the request with this tag at once, because its handler starts; the reply follows later."""
        self._unacknowledged.pop(tag, None)
        super().write(ack(self.number, tag))

    def reject(self, tag: int, *, requeue: bool) -> None:
        """Reject the request with this tag; it is settled."""
        super().write(reject(self.number, tag, requeue=requeue))
        self._unacknowledged.pop(tag, None)
        super().settle(b"", 0)

    def _publish(self, frames: ReplyFrames, settled: _Settled | None) -> None:
        if isinstance(frames, BundledReply):
            if settled is not None:
                self._bundled.setdefault(frames.reply_to, []).append(settled)
        else:
            self._published += 1
            if settled is not None:
                self._unconfirmed[self._published] = (settled,)
        super().write(frames)

    def _bundles_sent(self, reply_to: bytes, messages: int) -> None:
        """Count the messages of a caller; its queue takes them in order, so the confirm of the last one is for all."""
        self._published += messages
        settled = self._bundled.pop(reply_to, None)
        if settled:
            self._unconfirmed[self._published] = settled

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        """Acknowledge the requests whose replies the broker has, or refuses for good."""
        settled = self._take_up_to(tag) if multiple else self._unconfirmed.pop(tag, ())
        if settled:
            if not accepted:
                self._replies.log_refused(len(settled))
            self._release(settled)

    def _take_up_to(self, tag: int) -> list[_Settled]:
        confirmed = []
        for published in self._unconfirmed:
            if published > tag:
                break
            confirmed.append(published)
        return [settled for published in confirmed for settled in self._unconfirmed.pop(published)]

    def _release(self, requests: Iterable[_Settled]) -> None:
        for settled in requests:
            self.unsettled -= 1
            if isinstance(settled, int) and settled:
                self._acknowledged.append(settled)
                self._unacknowledged.pop(settled, None)
        if self._acknowledged and not self._flush_requested:
            self._request_flush()
        if not self._awaits_confirms:
            self._finish_waiting()
        if not self.unsettled:
            self.consumer.ended(self, None)

    @property
    def _awaits_confirms(self) -> bool:
        return bool(self._unconfirmed or self._bundled)

    def unconfirmed(self) -> asyncio.Future[None] | None:
        """Return what is done once no reply waits for its confirm; ``None`` if none does, or the broker reads none."""
        if not (self.open and self._awaits_confirms) or self._multiplexer.blocked is not None:
            return None
        if self._all_confirmed is None:
            self._all_confirmed = self._loop.create_future()
        return self._all_confirmed

    def _finish_waiting(self) -> None:
        waiter, self._all_confirmed = self._all_confirmed, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _start_timer(self) -> None:
        self._timer = self._loop.call_later(_PATIENCE, self._look)

    def _look(self) -> None:
        """Give up the replies that are overdue, unless the broker does not read what it gets."""
        self._timer = None
        if self._multiplexer.paused:
            self._overdue = 0
        else:
            overdue = self._take_up_to(self._overdue)
            self._overdue = self._published
            if overdue:
                self._replies.log_unconfirmed(len(overdue))
                self._release(overdue)
        if self.open and self._awaits_confirms:
            self._start_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def mark_closing(self) -> None:
        """Send nothing more and discard what arrives: we are about to close the channel."""
        super().mark_closing()
        self._stop_timer()

    def closed(self, error: ConnectionLostError) -> None:
        """Report that all unsettled requests are lost, and send the replies again whose requests will not return."""
        self._stop_timer()
        lost = [settled for requests in self._unconfirmed.values() for settled in requests]
        lost += [settled for requests in self._bundled.values() for settled in requests]
        self._unconfirmed.clear()
        self._bundled.clear()
        super().closed(error)
        for settled in lost:
            if not isinstance(settled, int):
                self.consumer.reply_late(*settled)
        self._finish_waiting()


class _CountedBundles(ReplyBundles):
    """Replies of one turn; tells to whom how many messages were sent."""

    __slots__ = ("_sent",)

    def __init__(self, channel: int, sent: Callable[[bytes, int], None]) -> None:
        super().__init__(channel)
        self._sent = sent

    def take(self, reply_to: bytes, max_size: int) -> bytes:
        frames = super().take(reply_to, max_size)
        if frames:
            self._sent(reply_to, count_methods(frames))
        return frames

    def take_all(self, max_size: int) -> bytes:
        return b"".join([self.take(reply_to, max_size) for reply_to in list(self.waiting)])
