"""The serving side on RabbitMQ: one queue, served by one lane after the other."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rabibridge._connection.error_translation import translated
from rabibridge._connection.topology import declare_queue, never_called
from rabibridge._transport.service_channel import ServiceChannel
from rabibridge_core.errors import ConnectionLostError, RabiBridgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from aiormq.abc import AbstractChannel

    from rabibridge._amqp.frames import Properties
    from rabibridge._connection.session import Session
    from rabibridge._transport.worker_session import WorkerSession
    from rabibridge_core.errors import ConfigurationError
    from rabibridge_core.transport import ConsumerEvents, Reply, ServiceQueue

__all__ = ["RabbitConsumer"]

_log = logging.getLogger(__name__)
_CANCEL_TIMEOUT = 5.0
_LATE_KEPT = 1024
_BACK_OFF_FIRST = 0.05
_BACK_OFF_MOST = 5.0
_BACK_OFF_FORGOTTEN = 10.0
"""After a channel has stood for this long, the next one is opened without waiting, in seconds."""


class RabbitConsumer:
    """Serves one queue, on one connection after the other."""

    def __init__(
        self,
        queue: ServiceQueue,
        events: ConsumerEvents,
        broken: Callable[[RabbitConsumer, ConnectionLostError | ConfigurationError], None],
    ) -> None:
        """Serve ``queue``; ``broken`` is told why it must be opened anew, or cannot be, on a connection that stands."""
        self.queue = queue
        self.error: Exception | None = None
        self.events = events
        self._broken = broken
        self.lane: ServiceChannel | None = None
        self._channel: AbstractChannel | None = None
        self._tag = ""
        self._stopping = False
        self._stopped: asyncio.Task[None] | None = None
        self._retired: dict[ServiceChannel, AbstractChannel] = {}  # with requests in hand, taking none
        self._operations: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()
        self._session: Session | None = None
        self._late: deque[tuple[Properties, Reply]] = deque(maxlen=_LATE_KEPT)
        self._opened = 0.0
        self._back_off = 0.0

    def __repr__(self) -> str:
        """Show the queue and whether it is served."""
        return f"<{type(self).__name__} {self.queue.name!r} {'live' if self.live else 'not live'}>"

    @property
    def live(self) -> bool:
        """Whether requests arrive."""
        lane = self.lane
        return lane is not None and lane.open and not lane.gone and not self._stopping

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._stopping

    @property
    def over(self) -> bool:
        """Whether it was stopped and holds nothing on the broker any more."""
        return self._stopped is not None and self._stopped.done() and not self._retired and not self._operations

    async def open(self, serving: WorkerSession) -> None:
        """Declare the queue and consume over a new connection, or anew over the same.

        Raises:
            ConfigurationError: the broker refuses; trying again does not help.
            ConnectionLostError: the connection is gone.
        """
        session = serving.session
        async with self._changing:
            if self._stopping or (self.live and self._session is session):
                return
            self.error = None
            await declare_queue(session, self.queue)
            await serving.cancels.listen_for(self.queue)
            with translated(f"the queue {self.queue.name!r} cannot be consumed from"):
                async with session.in_time():
                    channel = await session.open_channel()
                    lane = ServiceChannel(serving, channel, self)
                    await channel.basic_qos(prefetch_count=self.queue.fetch_size)
                    consuming = await channel.basic_consume(self.queue.name, never_called)
            if not lane.open or lane.gone:
                self.keep(_close_channel(session, lane, channel))
                raise session.error or ConnectionLostError("the channel of the service was closed", executed=False)
            self._session, self.lane, self._channel = session, lane, channel
            # Once is what was asked for: on the next connection the queue may be another worker's, with calls in it.
            self.queue = replace(self.queue, redeclare=False)
            self._tag = consuming.consumer_tag or ""
            self._opened = asyncio.get_running_loop().time()
            late, self._late = self._late, deque(maxlen=_LATE_KEPT)
            for properties, reply in late:
                self.reply_late(properties, reply)

    def reply_late(self, properties: Properties, reply: Reply) -> None:
        """Reply to an accepted request whose channel is gone, now or over the next one: nobody else will."""
        lane = self.lane
        if lane is not None and lane.open:
            lane.write(lane.reply(properties, reply))
        else:
            self._late.append((properties, reply))

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
        ending = [*self._operations, *(() if self._stopped is None else (self._stopped,))]
        if ending:
            await asyncio.wait(ending, timeout=_CANCEL_TIMEOUT)

    async def _stop(self) -> None:
        async with self._changing:
            await self._cancel()

    async def _cancel(self) -> None:
        session, lane, channel = self._session, self.lane, self._channel
        if session is None or lane is None or channel is None or not lane.open:
            return
        lane.flush()
        try:
            with translated(f"consuming from {self.queue.name!r} cannot be ended"):
                async with session.in_time(_CANCEL_TIMEOUT):
                    await channel.basic_cancel(self._tag)
        except RabiBridgeError as error:
            _log.debug("%s: it has ended with its channel", error)
        if lane is self.lane:
            self._retire(lane)

    def ended(self, lane: ServiceChannel, error: ConnectionLostError | ConfigurationError | None) -> None:
        """Hear that a lane has nothing in hand any more, or why it takes nothing more."""
        if lane in self._retired:
            if error is None or not lane.open:
                self._close_channel(lane)
        elif lane is self.lane and error is not None:
            self._retire(lane)
            if not self._stopping:
                self._broken(self, error)

    def _retire(self, lane: ServiceChannel) -> None:
        """Let a lane that takes nothing more answer what it has in hand; then its channel is closed."""
        assert self._channel is not None
        self._retired[lane] = self._channel
        self.lane = self._channel = None
        if not lane.unsettled or not lane.open:
            self._close_channel(lane)

    def _close_channel(self, lane: ServiceChannel) -> None:
        assert self._session is not None
        channel = self._retired.pop(lane)
        lane.flush()
        lane.shut()
        self.keep(_close_channel(self._session, lane, channel))

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Run an operation on a channel of ours to its end, which :meth:`released` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._operations.add(task)
        task.add_done_callback(self._operations.discard)


async def _close_channel(session: Session, lane: ServiceChannel, channel: AbstractChannel) -> None:
    lane.shut()
    try:
        if not channel.is_closed:
            with translated("the channel cannot be closed"):
                async with session.in_time():
                    await channel.close()
    except RabiBridgeError as error:
        _log.debug("%s: it is closed already", error)
    finally:
        lane.detach()
