"""The serving side on RabbitMQ: requests of one queue in, replies and acknowledgements out, on one lane."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rabibridge.errors import translated
from rabibridge.frames import (
    Properties,
    ack,
    content,
    encode_properties,
    encode_table,
    parse_deadline_table,
    publish_method,
    readable_table,
    reject,
)
from rabibridge.lane import Lane
from rabibridge.topology import declare_queue, never_called
from rabibridge_core.errors import ConnectionLostError, RabiBridgeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiormq.abc import AbstractChannel

    from rabibridge.session import Session
    from rabibridge_core.transport import ConsumerEvents, Headers, Reply, ServiceQueue

__all__ = ["RabbitConsumer"]

_log = logging.getLogger(__name__)
_METHODS_KEPT = 1024
_CANCEL_TIMEOUT = 5.0
_BACK_OFF_FIRST = 0.05
_BACK_OFF_MOST = 5.0
_BACK_OFF_FORGOTTEN = 10.0
"""After a channel has stood for this long, the next one is opened without waiting, in seconds."""
_DIRECT_REPLY_TO = b"amq.rabbitmq.reply-to."


class _Request:
    """A request in hand."""

    __slots__ = (
        "_headers", "_lane", "_properties", "_tag", "body", "content_encoding", "content_type", "correlation_id",
        "deadline", "redelivered", "time_left", "wants_reply",
    )  # fmt: skip

    def __init__(self, lane: _ConsumerLane, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        self._lane: _ConsumerLane | None = lane
        self._tag = tag
        self._properties = properties
        self._headers: dict[str, Any] | None = None
        self.content_type, self.content_encoding, _, self.correlation_id, reply_to, _ = properties
        self.wants_reply = reply_to != b""
        self.redelivered = redelivered
        self.body = body
        times = parse_deadline_table(properties.headers)
        if times is not None:
            self.time_left: float | None = times[0] / 1000
            self.deadline: float | None = times[1] / 1000
        else:
            self.time_left, self.deadline = self._times()

    def _times(self) -> tuple[float | None, float | None]:
        """Read the deadline of a sender who writes the headers in his own way, or only an expiration."""
        headers, expiration = self.headers, self._properties.expiration
        time_left, deadline = headers.get("rb-timeout"), headers.get("rb-deadline")
        if time_left is None and expiration.isdigit():
            time_left = int(expiration)
        return (
            time_left / 1000 if isinstance(time_left, int | float) else None,
            deadline / 1000 if isinstance(deadline, int | float) else None,
        )

    @property
    def headers(self) -> Headers:
        if self._headers is None:
            self._headers = readable_table(self._properties.headers)
        return self._headers

    def reply(self, reply: Reply, /) -> None:
        lane = self._lane
        if lane is not None:
            frames = lane.reply(self._properties, reply, self._tag)
            self._lane = None
            lane.settle(frames)

    def discard(self) -> None:
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.settle(ack(lane.number, self._tag))

    def reject(self, *, requeue: bool) -> None:
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.settle(reject(lane.number, self._tag, requeue=requeue))


class _ConsumerLane(Lane):
    """Takes requests and settles them, the reply always before the acknowledgement."""

    def __init__(self, session: Session, channel: int, events: ConsumerEvents, ended: Callable[..., None]) -> None:
        super().__init__(session.tap, channel, session.max_payload, session.max_body)
        self.unsettled = 0
        self.gone = False  # the queue was deleted: nothing more arrives, what is in hand can still be answered
        self._events = events
        self._ended = ended
        self._methods: dict[bytes, bytes] = {}

    def delivered(self, tag: int, redelivered: bool, properties: Properties, body: bytes) -> None:
        self.unsettled += 1
        self._events.received(_Request(self, tag, redelivered, properties, body))

    def reply(self, properties: Properties, reply: Reply, tag: int) -> bytes:
        """Return the frames that send the reply and then acknowledge the request."""
        reply_to = properties.reply_to
        method = self._methods.get(reply_to)
        if method is None:
            if len(self._methods) >= _METHODS_KEPT:
                self._methods.clear()
            # RabbitMQ before 4.2 returns a mandatory direct reply although it delivers it.
            mandatory = not reply_to.startswith(_DIRECT_REPLY_TO)
            method = self._methods[reply_to] = publish_method(self.number, b"", reply_to, mandatory=mandatory)
        flags, encoded = encode_properties(
            reply.content_type.encode() if reply.content_type else b"",
            reply.content_encoding.encode() if reply.content_encoding else b"",
            encode_table(reply.headers) if reply.headers else b"",
            properties.correlation_id,
        )
        message = content(self.number, flags, encoded, reply.body, self.max_payload)
        return b"".join((method, message, ack(self.number, tag)))

    def settle(self, frames: bytes) -> None:
        if self.open:
            self.unsettled -= 1
            self._tap.write(frames)
            if not self.unsettled:
                self._ended(self, None)

    def returned(self, code: int, text: str, properties: Properties) -> None:
        _log.debug("a reply found nobody: the caller of %r is gone", properties.correlation_id)

    def confirmed(self, tag: int, *, multiple: bool, accepted: bool) -> None:
        _log.warning("a confirm on channel %d, which has none", self.number)

    def closed(self, error: ConnectionLostError) -> None:
        self._events.lost(error)
        self._ended(self, error)

    def cancelled(self) -> None:
        self.gone = True
        self._ended(self, ConnectionLostError("the queue was deleted"))


class RabbitConsumer:
    """Serves one queue, on one connection after the other."""

    def __init__(
        self,
        queue: ServiceQueue,
        events: ConsumerEvents,
        broken: Callable[[RabbitConsumer, ConnectionLostError], None],
    ) -> None:
        """Serve ``queue``; ``broken`` is told why it is to be opened anew, even if the connection stands."""
        self.queue = queue
        self.error: Exception | None = None
        self._events = events
        self._broken = broken
        self._lane: _ConsumerLane | None = None
        self._channel: AbstractChannel | None = None
        self._tag = ""
        self._stopping = False
        self._stopped: asyncio.Task[None] | None = None
        self._retired: dict[_ConsumerLane, AbstractChannel] = {}  # with requests in hand, taking none
        self._closing: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        self._session: Session | None = None
        self._opened = 0.0
        self._back_off = 0.0

    def __repr__(self) -> str:
        """Show the queue and whether it is served."""
        return f"<{type(self).__name__} {self.queue.name!r} {'live' if self.live else 'not live'}>"

    @property
    def live(self) -> bool:
        """Whether requests arrive."""
        lane = self._lane
        return lane is not None and lane.open and not lane.gone and not self._stopping

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stopping

    @property
    def over(self) -> bool:
        """Whether it was stopped and holds nothing on the broker any more."""
        return self._stopped is not None and self._stopped.done() and not self._retired and not self._closing

    async def open(self, session: Session) -> None:
        """Declare the queue and consume over a new connection, or anew over the same.

        Raises:
            ConfigurationError: the broker refuses; trying again does not help.
            ConnectionLostError: the connection is gone.
        """
        async with self._changing:
            if self._stopping or (self.live and self._session is session):
                return
            self.error = None
            await declare_queue(session, self.queue)
            with translated(f"the queue {self.queue.name!r} cannot be consumed from"):
                async with session.in_time():
                    channel = await session.open_channel()
                    lane = _ConsumerLane(session, channel.number, self._events, self._ended)
                    await channel.basic_qos(prefetch_count=self.queue.fetch_size)
                    consuming = await channel.basic_consume(self.queue.name, never_called)
            if not lane.open or lane.gone:
                raise session.error or ConnectionLostError("the channel of the service was closed", executed=False)
            self._session, self._lane, self._channel = session, lane, channel
            # Once is what was asked for: on the next connection the queue may be another worker's, with calls in it.
            self.queue = replace(self.queue, redeclare=False)
            self._tag = consuming.consumer_tag or ""
            self._opened = asyncio.get_running_loop().time()

    def back_off(self) -> float:
        """Return how long to wait before opening anew, in seconds: longer each time unless it was live for a while."""
        if asyncio.get_running_loop().time() - self._opened > _BACK_OFF_FORGOTTEN:
            self._back_off = 0.0
        back_off = self._back_off
        self._back_off = min(max(2 * back_off, _BACK_OFF_FIRST), _BACK_OFF_MOST)
        return back_off

    async def stop(self) -> None:
        """Take no more requests; the channel closes when the last one in hand is settled."""
        self._stopping = True
        if self._stopped is None:
            self._stopped = asyncio.get_running_loop().create_task(self._stop())
        # Shielded: a cancelled basic.cancel would make aiormq close the channel under the replies in hand.
        await asyncio.shield(self._stopped)

    async def released(self) -> None:
        """Wait, for a few seconds at most, until no operation of ours on a channel is under way.

        A connection that closes under one of them makes aiormq write once more to a channel that is closed already.
        """
        ending = [*self._closing, *(() if self._stopped is None else (self._stopped,))]
        if ending:
            await asyncio.wait(ending, timeout=_CANCEL_TIMEOUT)

    async def _stop(self) -> None:
        async with self._changing:
            await self._cancel()

    async def _cancel(self) -> None:
        session, lane, channel = self._session, self._lane, self._channel
        if session is None or lane is None or channel is None or not lane.open:
            return
        lane.flush()
        try:
            with translated(f"consuming from {self.queue.name!r} cannot be ended"):
                async with session.in_time(_CANCEL_TIMEOUT):
                    await channel.basic_cancel(self._tag)
        except RabiBridgeError as error:
            _log.debug("%s: it has ended with its channel", error)
        if lane is self._lane:
            self._retire(lane)

    def _ended(self, lane: _ConsumerLane, error: ConnectionLostError | None) -> None:
        """Hear that nothing is in hand any more, or why the lane takes nothing more."""
        if lane in self._retired:
            if error is None or not lane.open:
                self._close_channel(lane)
        elif lane is self._lane and error is not None:
            self._retire(lane)
            if not self._stopping:
                self._broken(self, error)

    def _retire(self, lane: _ConsumerLane) -> None:
        """Let a lane that takes nothing more answer what it has in hand; then its channel is closed."""
        assert self._channel is not None
        self._retired[lane] = self._channel
        self._lane = self._channel = None
        if not lane.unsettled or not lane.open:
            self._close_channel(lane)

    def _close_channel(self, lane: _ConsumerLane) -> None:
        assert self._session is not None
        channel = self._retired.pop(lane)
        lane.flush()
        lane.shut()
        closing = asyncio.get_running_loop().create_task(_close_channel(self._session, lane, channel))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)


async def _close_channel(session: Session, lane: _ConsumerLane, channel: AbstractChannel) -> None:
    try:
        if not channel.is_closed:
            with translated("the channel cannot be closed"):
                async with session.in_time():
                    await channel.close()
    except RabiBridgeError as error:
        _log.debug("%s: it is closed already", error)
    finally:
        lane.detach()
