"""The consumer of one service queue, which survives the loss of channels and connections."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rabibridge._connection.error_translation import translated
from rabibridge._transport.confirmed_replies import ConfirmedServiceChannel
from rabibridge._transport.service_channel import ServiceChannel
from rabibridge_core._concurrency.background import TaskSet
from rabibridge_core._concurrency.backoff import Backoff
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConnectionLostError, RabiBridgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from rabibridge._amqp.properties import Properties
    from rabibridge._connection.session import Session
    from rabibridge._transport.late_replies import LateReplies
    from rabibridge._transport.worker_session import WorkerSession
    from rabibridge_core.errors import ConfigurationError
    from rabibridge_core.transport import ConsumerEvents, Reply, ServiceQueue

__all__ = ["RabbitConsumer"]

_log = get_logger(__name__)
_CANCEL_TIMEOUT = 5.0
_OPEN_ATTEMPTS = 3
_MAX_LATE_REPLIES = 1024
_FIRST_DELAY = 0.05
_MAX_DELAY = 5.0
_FIRST_REFUSAL_DELAY = 2.0
_MAX_REFUSAL_DELAY = 30.0
_STABLE_AFTER = 10.0
"""A channel that was open for more than this many seconds is replaced without delay when it fails."""


class RabbitConsumer:
    """Consumes from one service queue, on successive channels and connections."""

    def __init__(
        self,
        queue: ServiceQueue,
        events: ConsumerEvents,
        on_failed: Callable[[RabbitConsumer, ConnectionLostError | ConfigurationError], None],
        late: LateReplies,
    ) -> None:
        """Prepare to consume; :meth:`open` starts it.

        Args:
            queue: the queue and its limits.
            events: where requests and losses are reported.
            on_failed: called with the reason when its channel or queue is lost while the connection is open: after
                ConnectionLostError it must be reopened soon; ConfigurationError says that the broker refuses replies.
            late: sends the replies for which it has no channel after it was stopped.
        """
        self.queue = queue
        self.error: Exception | None = None
        self.bound = True
        """Whether calls reach the queue; ``False`` while its bindings are known to be deleted."""
        self.events = events
        self.channel: ServiceChannel | None = None
        self.stopped_at: float | None = None
        self._on_failed, self._late = on_failed, late
        self._stopping: asyncio.Task[None] | None = None
        self._retired: set[ServiceChannel] = set()  # receive no more requests but have unsettled ones
        self._operations = TaskSet()
        self._lock = asyncio.Lock()
        self._session: Session | None = None
        self._cancelling: asyncio.Semaphore | None = None
        self._late_replies: deque[tuple[Properties, Reply]] = deque(maxlen=_MAX_LATE_REPLIES)
        self._opened_at = 0.0
        self._backoff = Backoff(_FIRST_DELAY, _MAX_DELAY, immediate=True, jitter=0)
        self._refusals = Backoff(_FIRST_REFUSAL_DELAY, _MAX_REFUSAL_DELAY)

    def __repr__(self) -> str:
        """Show the queue and whether it is live."""
        return f"<{type(self).__name__} {self.queue.name!r} {'live' if self.live else 'not live'}>"

    @property
    def live(self) -> bool:
        """Whether requests arrive."""
        channel = self.channel
        return channel is not None and channel.open and not channel.queue_deleted and not self.stopped and self.bound

    @property
    def open_on(self) -> Session | None:
        """The connection on which it consumes now, ``None`` if it does not."""
        channel = self.channel
        return self._session if channel is not None and channel.open and not channel.queue_deleted else None

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stopping is not None

    @property
    def finished(self) -> bool:
        """Whether it was stopped and has released everything on the broker."""
        return self.stopped and not self._retired and not self._operations

    async def open(self, worker_session: WorkerSession) -> None:
        """Declare the queue and consume from it on a new connection, or again on the same.

        Raises:
            ConfigurationError: the broker refuses.
            ConnectionLostError: the connection is lost.
        """
        session = worker_session.session
        async with self._lock:
            if self.stopped or self.open_on is session:
                return
            found = await worker_session.prepare(self.queue)
            self.channel = await self._consume(worker_session, found)
            self._session = session
            self._cancelling = worker_session.cancelling
            self.error = None
            self._refusals.reset()
            # Redeclare only once: on the next connection, other workers may use the queue and calls may wait in it.
            if self.queue.redeclare:
                self.queue = replace(self.queue, redeclare=False)
            self._opened_at = asyncio.get_running_loop().time()
            self._send_late_replies()

    def _send_late_replies(self) -> None:
        late, self._late_replies = self._late_replies, deque(maxlen=_MAX_LATE_REPLIES)
        for properties, reply in late:
            self.reply_late(properties, reply)

    async def _consume(self, worker_session: WorkerSession, found: ServiceQueue) -> ServiceChannel:
        """Consume on a new channel, and on another one if the broker closes that at once.

        It does so if the reply to a request that has waited in the queue is larger than it accepts.
        """
        session = worker_session.session
        channel_type = ConfirmedServiceChannel if found.queue_type == "quorum" else ServiceChannel
        for _ in range(_OPEN_ATTEMPTS):
            with translated(f"the queue {self.queue.name!r} cannot be consumed"):
                channel = channel_type(worker_session, self, found)
                try:
                    await channel.consume()
                except BaseException:
                    channel.start_closing()  # unless the broker has closed it
                    raise
            if channel.open and not channel.queue_deleted:
                return channel
            self.spawn(_close_channel(session, channel))
            if session.error is not None or channel.queue_deleted:
                break
        raise session.error or ConnectionLostError("the channel of the service was closed", executed=False)

    def reply_late(self, properties: Properties, reply: Reply) -> None:
        """Reply to an accepted request whose channel is closed, on the current channel or on the next one."""
        channel = self.channel
        if channel is not None and channel.open:
            frames = channel.encode_reply(properties, reply)
            if frames:
                channel.write(frames)
            else:
                channel.reply_apart(properties, reply, lambda _: None)
        elif self.stopped:
            self._late.send(properties, reply)
        else:
            self._late_replies.append((properties, reply))

    def probe(self, reply_to: bytes) -> None:
        """Find out whether a caller is still connected, if there is a channel now."""
        channel = self.channel
        if channel is not None and channel.open:
            channel.probe(reply_to)

    def next_delay(self) -> float:
        """Return the delay before reopening, in seconds: longer each time unless it was live for a while."""
        if asyncio.get_running_loop().time() - self._opened_at > _STABLE_AFTER:
            self._backoff.reset()
        return self._backoff.next()

    def next_refusal_delay(self) -> float:
        """Return the delay before trying again what the broker has refused, in seconds: longer each time."""
        return self._refusals.next()

    async def stop(self) -> None:
        """Take no more requests; the channel is closed when the last one is settled.

        While the broker blocks the connection it cannot be told: it is told later, and what it delivers until then is
        returned to the queue.
        """
        if self._stopping is None:
            self.stopped_at = asyncio.get_running_loop().time()
            self._stopping = self._operations.spawn(self._cancel())
        session, channel = self._session, self.channel
        while not self._stopping.done():
            if session is not None and session.multiplexer.blocked is not None:
                if channel is not None:
                    channel.refuse_deliveries()
                return
            flow = [asyncio.ensure_future(session.multiplexer.flow_changed())] if session is not None else []
            try:
                # Never cancelled: aiormq closes the channel of a cancelled basic.cancel, and replies need the channel.
                await asyncio.wait((self._stopping, *flow), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for waiter in flow:
                    waiter.cancel()
        self._stopping.result()

    async def set_fetch_size(self, fetch_size: int, /) -> None:
        """Receive at most so many unsettled requests from now on; those that it has do not count."""
        self.queue = replace(self.queue, fetch_size=fetch_size)
        await asyncio.shield(self._operations.spawn(self._adjust()))

    async def _adjust(self) -> None:
        async with self._lock:
            session, channel = self._session, self.channel
            if session is None or channel is None or self.stopped or not self.live:
                return  # the next channel has the new size
            with translated(f"the prefetch count of {self.queue.name!r} cannot be changed"):
                async with session.timeout():
                    await channel.set_fetch_size(self.queue.fetch_size)

    async def wait_idle(self) -> None:
        """Wait a few seconds at most until no operation on our channels is in progress.

        If the connection were closed during one, aiormq would write to a channel that is already closed.
        """
        if self._operations:
            await asyncio.wait(self._operations, timeout=_CANCEL_TIMEOUT)

    async def wait_confirmed(self) -> None:
        """Wait a few seconds at most until no reply waits for its confirm."""
        channels = self._retired if self.channel is None else {self.channel, *self._retired}
        unconfirmed = [waiter for channel in channels if (waiter := channel.unconfirmed()) is not None]
        if unconfirmed:
            await asyncio.wait(unconfirmed, timeout=_CANCEL_TIMEOUT)

    async def _cancel(self) -> None:
        async with self._lock:
            await self._cancel_consuming()
            self._send_late_replies()

    async def _cancel_consuming(self) -> None:
        session, channel = self._session, self.channel
        if self._cancelling is None or session is None or channel is None or not channel.open:
            return
        try:
            with translated(f"consuming from {self.queue.name!r} cannot be cancelled"):
                async with self._cancelling, session.timeout(_CANCEL_TIMEOUT):
                    await channel.cancel()
        except RabiBridgeError as error:
            _log.debug(
                "%s: it has ended with its channel", error,
                extra=log_fields("service.consumer_ended", queue=self.queue.name, error=error),
            )  # fmt: skip
        if channel is self.channel:
            self._retire(channel)

    def ended(self, channel: ServiceChannel, error: ConnectionLostError | ConfigurationError | None) -> None:
        """Called when a channel receives no more requests (``error`` is the reason), or when none is unsettled."""
        if channel in self._retired:
            if error is None or not channel.open:
                self._close_channel(channel)
        elif channel is self.channel and error is not None:
            self._retire(channel)
            if not self.stopped:
                self._on_failed(self, error)

    def _retire(self, channel: ServiceChannel) -> None:
        """Close a channel that receives no more requests once all its requests are settled."""
        self._retired.add(channel)
        self.channel = None
        if not channel.unsettled or not channel.open:
            self._close_channel(channel)

    def _close_channel(self, channel: ServiceChannel) -> None:
        assert self._session is not None
        self._retired.discard(channel)
        channel.flush()
        channel.mark_closing()
        self.spawn(_close_channel(self._session, channel))

    def spawn(self, operation: Coroutine[Any, Any, None]) -> None:
        """Run an operation on one of our channels in the background; :meth:`wait_idle` waits for it."""
        self._operations.spawn(operation)


async def _close_channel(session: Session, channel: ServiceChannel) -> None:
    async with session.timeout():
        await channel.start_closing()
