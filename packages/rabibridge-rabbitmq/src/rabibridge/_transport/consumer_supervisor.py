"""Opens callers and consumers on every new connection, and reopens those that fail while the connection is open.

Consumers are opened side by side. One that the broker refuses, or does not answer, is tried again later; the others do
not wait for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge._connection.error_translation import is_missing
from rabibridge._connection.operations import Operations
from rabibridge._connection.other_kind import OtherKinds
from rabibridge._connection.queue_deletion import delete_unused
from rabibridge._transport import consumer_log
from rabibridge._transport.binding_watch import BindingWatch
from rabibridge._transport.consumer import RabbitConsumer
from rabibridge._transport.late_replies import LateReplies
from rabibridge._transport.letter_shares import LetterShares
from rabibridge._transport.worker_session import WorkerSession
from rabibridge_core._concurrency.background import sleep_unless
from rabibridge_core.errors import ConfigurationError, ConnectionLostError, RabiBridgeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine
    from typing import Any

    from rabibridge._connection.session import Session
    from rabibridge._transport.caller import RabbitCaller
    from rabibridge._transport.control import ControlHandler
    from rabibridge_core.transport import ConsumerEvents, ServiceQueue

__all__ = ["ConsumerSupervisor"]

_END_TIMEOUT = 2.0
_SLOW_AFTER = 5.0
"""How long the opening of a service may take before others no longer wait for it, in seconds."""
_OPENING_AT_ONCE = 256  # keeps a broker busy until this process gets a processor and hears of the first
_PRUNE_FROM = 16
"""How many consumers are kept at least before those that have finished are looked for."""


class ConsumerSupervisor:
    """Keeps the callers and consumers of a transport open."""

    def __init__(self, name: str) -> None:
        """Supervise the connection that the broker lists under ``name``."""
        self.tasks = Operations(name)  # on channels; they are completed before the connection is closed
        self.control: ControlHandler | None = None  # where control requests go
        self._name, self._letters, self.late = name, LetterShares(name), LateReplies(name)
        self.callers: list[RabbitCaller] = []  # all that it keeps open
        self._consumers: list[RabbitConsumer] = []
        self._worker_session: WorkerSession | None = None
        self._binding_watch: BindingWatch | None = None
        self._other_kinds, self._prune_at = OtherKinds(name), _PRUNE_FROM
        self._lock, self._places = asyncio.Lock(), asyncio.Semaphore(_OPENING_AT_ONCE)
        self._closing = asyncio.Event()

    @property
    def closing(self) -> bool:
        """Whether :meth:`stop_reopening` was called."""
        return self._closing.is_set()

    @property
    def stopped_at(self) -> float | None:
        """When the last consumer was stopped, on the clock of the event loop; ``None``: none was."""
        return max((consumer.stopped_at for consumer in self._consumers if consumer.stopped_at), default=None)

    def stop_reopening(self) -> None:
        """Reopen nothing from now on: the connection is about to be closed."""
        self._closing.set()

    async def finish(self) -> None:
        """Wait until no operation on a channel is in progress, so that the connection can be closed."""
        for timeout in (_END_TIMEOUT, None):  # aiormq closes the channel of a cancelled operation, so wait first
            if self.tasks:
                await asyncio.wait(self.tasks, timeout=timeout)
            for task in self.tasks:
                task.cancel()
        if self._worker_session is not None:
            await self._worker_session.drain()
        await self.idle()

    async def idle(self) -> None:
        """Wait a few seconds at most until no operation on a channel of a consumer is in progress."""
        await asyncio.gather(*(consumer.wait_idle() for consumer in self._consumers))

    async def confirmed(self) -> None:
        """Wait a few seconds at most until no reply waits for its confirm."""
        await asyncio.gather(*(consumer.wait_confirmed() for consumer in self._consumers))

    def close_callers(self, error: ConnectionLostError) -> None:
        """Close all callers permanently; waiting calls fail with ``error``."""
        for caller in self.callers:
            caller.close(error)

    async def add_caller(self, caller: RabbitCaller, session: Session) -> None:
        """Open a caller and supervise it.

        Raises:
            ConfigurationError: the broker refuses it.
            ConnectionLostError: the connection is lost.
        """
        async with self._lock:
            await caller.open(session)
            self.callers.append(caller)

    def add_consumer(self, queue: ServiceQueue, events: ConsumerEvents) -> RabbitConsumer:
        """Create a consumer and supervise it. The next connection opens it unless :meth:`open_consumer` does."""
        consumer = RabbitConsumer(queue, events, self._on_consumer_failed, self.late)
        if len(self._consumers) >= self._prune_at:  # not for every one of a thousand that start at once
            self._consumers = [known for known in self._consumers if not known.finished]
            self._prune_at = 2 * len(self._consumers) + _PRUNE_FROM
        self._consumers.append(consumer)
        return consumer

    def remove_consumer(self, consumer: RabbitConsumer) -> None:
        """Stop supervising a consumer."""
        self._consumers.remove(consumer)

    async def declare(self, queue: ServiceQueue, session: Session) -> None:
        """Declare a service queue. Returns early if the broker does not answer for a while.

        Raises:
            ConfigurationError: the broker refuses.
            ConnectionLostError: the connection is lost.
        """
        declaring = await self._started(self._worker_session_on(session).declare(queue))
        if declaring.done():
            declaring.result()
        else:
            consumer_log.log_unanswered(self._name, queue.name)
            self.tasks.spawn(self._log_failure(queue, declaring))

    async def delete_unused(self, queue: ServiceQueue, session: Session) -> bool:
        return await delete_unused(self._worker_session_on(session).queues, queue)

    async def _log_failure(self, queue: ServiceQueue, declaring: asyncio.Task[None]) -> None:
        try:
            await declaring
        except RabiBridgeError as error:
            consumer_log.log_undeclared(self._name, queue.name, error)

    async def open_new_consumer(self, consumer: RabbitConsumer, session: Session) -> None:
        """Open a consumer that was not open before, as :meth:`open_consumer` does, unless it is one too many.

        Those that were open are not counted again on another connection, where fewer may be allowed: some are better
        than none.
        """
        self._check_channels(session)
        await self.open_consumer(consumer, session)

    async def open_consumer(self, consumer: RabbitConsumer, session: Session) -> None:
        """Open a consumer. Returns early if the broker does not answer for a while, so that others can be opened.

        Raises:
            ConfigurationError: the broker refuses it.
            ConnectionLostError: the connection is lost.
        """
        opening = await self._started(consumer.open(self._worker_session_on(session)))
        if opening.done():
            opening.result()
        else:
            consumer_log.log_unanswered(self._name, consumer.queue.name)
            consumer.error = ConnectionLostError(
                f"the queue {consumer.queue.name!r} cannot be declared and consumed yet: the broker has not answered "
                f"for {_SLOW_AFTER:g} s"
            )
            self.tasks.spawn(self._finish_opening(consumer, session, opening))

    async def _started(self, operation: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run an operation; return when it has ended, or takes so long that others should not wait for it."""
        async with self._places:
            task = self.tasks.spawn(operation)
            await asyncio.wait((task,), timeout=_SLOW_AFTER)
        return task

    def _check_channels(self, session: Session) -> None:
        numbers = session.channel_numbers
        if not numbers.suffice_for(len(self._consumers)):  # counts those that have stopped, too
            services = sum(not consumer.stopped for consumer in self._consumers)
            if not numbers.suffice_for(services):
                raise numbers.too_few_for(services, session.endpoint)

    async def _finish_opening(self, consumer: RabbitConsumer, session: Session, opening: Awaitable[None]) -> None:
        try:
            await opening
        except Exception as error:  # noqa: BLE001 - handled for each kind of error
            self._on_open_failed(consumer, session, error)

    def _worker_session_on(self, session: Session) -> WorkerSession:
        if self._worker_session is None or self._worker_session.session is not session:
            self._worker_session = WorkerSession(
                session, self._name, lambda: list(self._consumers), self._other_kinds, self._on_unroutable,
                self._letters,
            )  # fmt: skip
            self.late.use(self._worker_session)
            self._binding_watch = BindingWatch(self._name, self._worker_session, lambda: self._consumers)
            self.tasks.spawn(self._binding_watch.run(self._sleep, lambda: self.closing))
        return self._worker_session

    async def open_control(self, session: Session) -> None:
        """Receive control requests on a connection, if they are wanted; raise ConnectionLostError if it is lost."""
        if self.control is not None:
            await self._worker_session_on(session).receive_control(self.control)

    async def open_all(self, session: Session) -> None:
        """Open all callers and consumers on a new connection. What the broker refuses is tried again later.

        Raises:
            ConnectionLostError: the connection is lost.
        """
        async with self._lock:
            for caller in self.callers:
                try:
                    await caller.open(session)
                except ConfigurationError as error:
                    caller.refuse(error, session)
        await self.open_control(session)
        if self._consumers:  # even if all were stopped: they may have replies left
            self._worker_session_on(session)
        tried: set[RabbitConsumer] = set()
        while closed := [known for known in self._consumers if not (known.stopped or known in tried)]:
            tried.update(closed)
            await asyncio.gather(*(self._open_or_retry(consumer, session) for consumer in closed))

    async def _open_or_retry(self, consumer: RabbitConsumer, session: Session) -> None:
        try:
            await self.open_consumer(consumer, session)
        except Exception as error:
            if session.error is not None:
                raise session.error from error
            self._on_open_failed(consumer, session, error)

    def _on_open_failed(self, consumer: RabbitConsumer, session: Session, error: Exception) -> None:
        """Try again later: the node that holds the queue may come back, and a permission may be granted."""
        if session.error is not None or self.closing or consumer.stopped or consumer not in self._consumers:
            return
        if not isinstance(error, RabiBridgeError):
            consumer_log.log_unexpected(self._name, consumer.queue.name, error)
            session.fail(ConnectionLostError(f"cannot open {consumer.queue.name!r}: {error}"))  # a new one starts clean
            return
        if is_missing(error):
            session.exchange_declared = False
        delay = consumer.next_refusal_delay()
        consumer_log.log_open_failed(
            self._name, consumer.queue.name, error, delay, again=str(error) == str(consumer.error)
        )
        consumer.error = error
        self.tasks.spawn(self._reopen_consumer(consumer, session, delay))

    def _on_consumer_failed(self, consumer: RabbitConsumer, error: ConnectionLostError | ConfigurationError) -> None:
        """Called when the channel or queue of a consumer is lost."""
        session = None if self._worker_session is None else self._worker_session.session
        if self.closing or session is None or session.error is not None:
            return  # the next connection opens everything; one that is not ready yet has opened this one already
        if isinstance(error, ConfigurationError):
            self._worker_session_on(session).forget_reply_permission()
            self._on_open_failed(consumer, session, error)
            return
        delay = consumer.next_delay()
        consumer_log.log_down(self._name, consumer.queue.name, error, delay)
        self.tasks.spawn(self._reopen_consumer(consumer, session, delay))

    async def _reopen_consumer(self, consumer: RabbitConsumer, session: Session, delay: float) -> None:
        await self._sleep(session, delay)
        if session.error is None and not self.closing and consumer in self._consumers:
            await self._finish_opening(consumer, session, self.open_consumer(consumer, session))

    def _on_unroutable(self, key: str) -> None:
        """Called when a caller could not send to a routing key."""
        if self._binding_watch is not None and self._binding_watch.unroutable.due(key):
            self.tasks.spawn(self._binding_watch.bind_key(key))

    async def _sleep(self, session: Session, seconds: float) -> None:
        """Sleep until the time is over, the connection is lost, or the transport is closing."""
        await sleep_unless(seconds, session.lost, self._closing)

    def reopen_caller(self, caller: RabbitCaller, session: Session, delay: float) -> None:
        """Reopen a caller after ``delay`` seconds, because the broker has refused what it published."""
        if not self.closing and session.error is None:
            self.tasks.spawn(self._reopen_caller(caller, session, delay))

    async def _reopen_caller(self, caller: RabbitCaller, session: Session, delay: float) -> None:
        await self._sleep(session, delay)
        if session.error is not None:
            caller.forget_refusal()  # the next connection opens it
        async with self._lock:
            if session.error is not None or self.closing:
                return
            try:
                await caller.open(session)
            except ConfigurationError as error:
                caller.refuse(error, session)
            except Exception as error:  # noqa: BLE001 - whatever it is, a new connection starts clean
                if not isinstance(error, ConnectionLostError):
                    consumer_log.log_caller_unexpected(self._name)
                session.fail(ConnectionLostError(f"cannot reopen the channel for calls: {error}"))
