"""Opens callers and consumers on every new connection, and reopens those that fail while the connection is open.

A consumer that the broker refuses permanently is given up; the others continue.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aiormq.exceptions import ChannelNotFoundEntity

from rabibridge._transport.consumer import RabbitConsumer
from rabibridge._transport.worker_session import WorkerSession
from rabibridge_core._concurrency.background import TaskSet
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge._connection.session import Session
    from rabibridge._transport.caller import RabbitCaller
    from rabibridge_core.transport import ConsumerEvents, ServiceQueue

__all__ = ["ConsumerSupervisor"]

_log = logging.getLogger(__name__)
_END_TIMEOUT = 2.0
_RETRY_DELAY = 2.0
"""Delay before a queue that is temporarily missing is declared again, in seconds."""


class ConsumerSupervisor:
    """Keeps the callers and consumers of a transport open."""

    def __init__(self, name: str, current_session: Callable[[], Session | None]) -> None:
        """Supervise the connection that the broker lists under ``name``; ``current_session`` returns the ready one."""
        self.tasks = TaskSet()
        """Operations on channels; they are completed before the connection is closed."""
        self._name = name
        self._current_session = current_session
        self._callers: list[RabbitCaller] = []
        self._consumers: list[RabbitConsumer] = []
        self._worker_session: WorkerSession | None = None
        self._lock = asyncio.Lock()
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
            await self._worker_session.replies.drain()
            await self._worker_session.publisher.drain()
        await self.idle()

    async def idle(self) -> None:
        """Wait a few seconds at most until no operation on a channel of a consumer is in progress."""
        await asyncio.gather(*(consumer.wait_idle() for consumer in self._consumers))

    def close_callers(self, error: ConnectionLostError) -> None:
        """Close all callers permanently; waiting calls fail with ``error``."""
        for caller in self._callers:
            caller.close(error)

    async def add_caller(self, caller: RabbitCaller, session: Session) -> None:
        """Open a caller and supervise it.

        Raises:
            ConfigurationError: the broker refuses it.
            ConnectionLostError: the connection is lost.
        """
        async with self._lock:
            await caller.open(session)
            self._callers.append(caller)

    def add_consumer(self, queue: ServiceQueue, events: ConsumerEvents) -> RabbitConsumer:
        """Create a consumer and supervise it. The next connection opens it unless :meth:`open_consumer` does."""
        consumer = RabbitConsumer(queue, events, self._on_consumer_failed)
        self._consumers = [known for known in self._consumers if not known.finished] + [consumer]
        return consumer

    def remove_consumer(self, consumer: RabbitConsumer) -> None:
        """Stop supervising a consumer."""
        self._consumers.remove(consumer)

    async def open_consumer(self, consumer: RabbitConsumer, session: Session) -> None:
        """Open a consumer.

        Raises:
            ConfigurationError: the broker refuses it.
            ConnectionLostError: the connection is lost.
        """
        async with self._lock:
            await consumer.open(self._worker_session_on(session))

    def _worker_session_on(self, session: Session) -> WorkerSession:
        if self._worker_session is None or self._worker_session.session is not session:
            self._worker_session = WorkerSession(session, self._name, lambda: list(self._consumers))
        return self._worker_session

    async def open_all(self, session: Session) -> None:
        """Open all callers and consumers on a new connection; consumers that the broker refuses stay closed.

        Raises:
            ConfigurationError: the broker refuses a caller.
            ConnectionLostError: the connection is lost.
        """
        async with self._lock:
            for consumer in self._consumers:
                if _is_temporary(consumer.error):
                    consumer.error = None
            for caller in self._callers:
                await caller.open(session)
            while closed := [known for known in self._consumers if not (known.live or known.stopped or known.error)]:
                for consumer in closed:
                    await self._open_or_give_up(consumer, session)

    async def _open_or_give_up(self, consumer: RabbitConsumer, session: Session) -> None:
        is_retry = _is_temporary(consumer.error)
        try:
            await consumer.open(self._worker_session_on(session))
        except ConfigurationError as error:
            if not _is_temporary(error):
                self._give_up(consumer, error)
                return
            # The node that holds the queue is down, or the queue was deleted after it was declared.
            consumer.error = error
            session.exchange_declared = False
            if not is_retry:
                _log.error("%s: %s; retrying", self._name, error)
            self.tasks.spawn(self._reopen_consumer(consumer, session, _RETRY_DELAY))

    def _give_up(self, consumer: RabbitConsumer, error: ConfigurationError) -> None:
        consumer.error = error
        _log.error("%s: %s; this service stays down, the others continue", self._name, error)

    def _on_consumer_failed(self, consumer: RabbitConsumer, error: ConnectionLostError | ConfigurationError) -> None:
        """Called when the channel or queue of a consumer is lost."""
        if isinstance(error, ConfigurationError):
            self._give_up(consumer, error)
            return
        session = self._current_session()
        if self.closing or session is None or session.error is not None:
            return  # the next connection opens everything
        delay = consumer.next_delay()
        _log.warning("%s: %r is down: %s; reopening in %.2f s", self._name, consumer.queue.name, error, delay)
        self.tasks.spawn(self._reopen_consumer(consumer, session, delay))

    async def _reopen_consumer(self, consumer: RabbitConsumer, session: Session, delay: float) -> None:
        await self._sleep(session, delay)
        async with self._lock:
            if session.error is not None or self.closing:
                return
            try:
                await self._open_or_give_up(consumer, session)
            except Exception as error:  # noqa: BLE001 - whatever it is, a new connection starts clean
                if not isinstance(error, ConnectionLostError):
                    _log.exception("%s: cannot reopen %r", self._name, consumer.queue.name)
                    error = ConnectionLostError(f"cannot reopen {consumer.queue.name!r}: {error}")
                session.fail(error)  # no effect if it is lost already

    async def _sleep(self, session: Session, seconds: float) -> None:
        """Sleep until the time is over, the connection is lost, or the transport is closing."""
        waiters = [asyncio.ensure_future(event.wait()) for event in (session.lost, self._closing)]
        try:
            await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()

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
                    _log.exception("%s: cannot reopen the channel for calls", self._name)
                session.fail(ConnectionLostError(f"cannot reopen the channel for calls: {error}"))


def _is_temporary(error: Exception | None) -> bool:
    """Return whether a refusal may be temporary: the broker reports that a queue or exchange does not exist."""
    return error is not None and isinstance(error.__cause__, ChannelNotFoundEntity)
