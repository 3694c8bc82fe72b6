"""Keeps a connection open: connects, reconnects with back-off and runs the same set-up on every new connection."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Generic

from rabibridge_core._concurrency.background import CloseOnce
from rabibridge_core._concurrency.backoff import Backoff
from rabibridge_core._concurrency.left_tasks import drop_tasks
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.connection.connector import Connector
from rabibridge_core.connection.sessions import SessionT
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_core.transport import ConnectionCounts, ConnectionState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge_core.connection.sessions import Opener
    from rabibridge_core.settings import Settings

__all__ = ["SupervisedConnection"]

_log = get_logger(__name__)
_FIRST_DELAY = 0.05
_STABLE_AFTER = 1.0
"""A connection that was open for more than this many seconds is replaced without delay when it is lost."""


class SupervisedConnection(Generic[SessionT]):
    """Connects, and reconnects whenever the connection is lost, until it is closed or permanently refused."""

    def __init__(
        self,
        opener: Opener[SessionT],
        settings: Settings,
        name: str,
        set_up: Callable[[SessionT], Awaitable[None]],
        on_give_up: Callable[[Exception], None],
        on_refused: Callable[[ConfigurationError | None], None] | None = None,
        on_ready: Callable[[SessionT], None] | None = None,
        on_lost: Callable[[SessionT, ConnectionLostError], None] | None = None,
        packages: tuple[str, ...] = (),
    ) -> None:
        """Prepare to connect.

        Args:
            opener: opens sessions.
            settings: endpoints, and the time that the first connection may take.
            name: the name under which the broker lists the connection.
            set_up: called with every new connection before it counts as ready.
            on_give_up: called with the reason when no further connection will be made.
            on_refused: called while there is no connection: with the reason if it takes a mended certificate or broker
                to make one, with ``None`` if waiting may help.
            on_ready: called with every new connection once it counts as ready.
            on_lost: called with every connection that is lost, and why.
            packages: packages besides those of RabiBridge whose tasks serve the connection.
        """
        self.state = ConnectionState.IDLE
        self.last_error: Exception | None = None
        self.session: SessionT | None = None
        self.name = name
        self._connect_timeout = self._patience = settings.connect_timeout  # of the first connection, and of a later one
        self._connector = Connector(
            opener, settings.endpoints, name, set_up, self._on_attempt_failed, self._on_curable_refusal
        )
        self._on_give_up, self._on_refused, self._on_set_up, self._on_lost = on_give_up, on_refused, on_ready, on_lost
        self._packages = ("rabibridge", "rabibridge_core", *packages)
        self._refusal: ConfigurationError | None = None
        self._decided = asyncio.Event()  # ready, failed or closed: nothing to wait for
        self._closed = asyncio.Event()
        self._fatal: Exception | None = None
        self._running: asyncio.Task[None] | None = None
        self._close_once = CloseOnce()
        # A connection that is lost as soon as it is used must not cause a storm of log-ins.
        self._loss_backoff = Backoff(_FIRST_DELAY, _STABLE_AFTER)
        self._was_ready = False
        self._losses = self._made = 0
        self._blocked = 0.0  # of sessions that are lost
        self._connecting = 0  # callers that wait for the first connection
        self._attempt_cancelled = False

    async def connect(self) -> None:
        """Wait for the first connection: up to ``connect_timeout``, and at least one attempt at each host.

        It can be called again after ConnectionLostError, and after it was cancelled: if nobody waits for the first
        connection any more, no further attempt is made.

        Raises:
            ConnectionLostError: no host could be reached.
            ConfigurationError: a broker refuses the connection permanently.
        """
        self._connecting += 1
        try:
            while self._attempt_cancelled and self._running is not None:
                await asyncio.wait((self._running,))
            if self.state is ConnectionState.IDLE:
                self.state, self.last_error = ConnectionState.CONNECTING, None
                self._decided.clear()
                self._running = asyncio.create_task(self._run(), name=f"{self.name}-connection")
                self._running.add_done_callback(self._on_run_done)
            await self.ready()
        except asyncio.CancelledError:
            if self._connecting == 1 and self._is_connecting() and self._running is not None:
                self._attempt_cancelled = True
                self._running.cancel()
            raise
        finally:
            self._connecting -= 1

    async def ready(self) -> SessionT:
        """Wait for a connection that is set up, and return it.

        Raises:
            ConnectionLostError: it is closed, was never connected, or the first connection failed.
            ConfigurationError: a broker refuses the connection permanently, or TLS or a certificate for now.
        """
        while (session := self.session) is None or session.lost.is_set():
            if session is not None:
                await asyncio.sleep(0)  # the task that keeps us connected is about to notice that it is lost
                if self.session is session:
                    break  # it does not: this process was forked
                continue
            if self._refusal is not None and self.state is ConnectionState.LOST:
                raise ConfigurationError(str(self._refusal)) from self._refusal.__cause__
            if isinstance(self._fatal, ConnectionLostError):
                raise ConnectionLostError(str(self._fatal), executed=False) from self._fatal.__cause__
            if self._fatal is not None:
                raise type(self._fatal)(str(self._fatal)) from self._fatal.__cause__
            if self.state is ConnectionState.CLOSED:
                raise ConnectionLostError(f"{self.name} is closed", executed=False)
            if self.state is ConnectionState.IDLE:
                if (why := self.last_error) is None:
                    raise ConnectionLostError(f"{self.name} is not connected: await connect() first", executed=False)
                raise ConnectionLostError(str(why), executed=False) from why.__cause__
            await self._decided.wait()
        return session

    async def ready_in_time(self) -> SessionT:
        """Wait for a connection as :meth:`ready`, but not longer than ``connect_timeout``.

        Raises:
            ConnectionLostError: as of :meth:`ready`, or it takes too long.
            ConfigurationError: as of :meth:`ready`.
        """
        return await self.ready_until(asyncio.get_running_loop().time() + self._patience)

    async def ready_until(self, deadline: float) -> SessionT:
        """Wait as :meth:`ready_in_time`, but until ``deadline`` on the clock of the event loop."""
        try:
            async with asyncio.timeout_at(deadline):
                return await self.ready()
        except TimeoutError:
            reason = self.last_error
            raise ConnectionLostError(f"{self.name} has no connection: {reason}", executed=False) from reason

    async def close(self) -> None:
        """Close permanently. Closing completes even if the caller is cancelled."""
        if not self._close_once.started:
            self.state = ConnectionState.CLOSED
        await self._close_once(self._close)

    async def _close(self) -> None:
        session, self.session = self.session, None
        try:
            while self._running is not None and not self._running.done():
                self._running.cancel()  # repeatedly, in case a library swallows a cancellation
                await asyncio.wait((self._running,), timeout=1)
            if session is not None:
                await session.close()
        finally:
            self._finish()

    def abandon(self) -> None:
        """Close permanently without an event loop: ours is closed, or that of the parent of a forked process."""
        self.state = ConnectionState.CLOSED
        session, self.session = self.session, None
        if session is not None:
            session.abandon()
        if self._running is not None:
            drop_tasks(self._running.get_loop(), self._packages)

    async def wait_closed(self) -> None:
        """Wait until it is closed; raise the error that closed it, unless :meth:`close` did."""
        await self._closed.wait()
        if self._fatal is not None:
            raise self._fatal

    def _finish(self) -> None:
        self.state = ConnectionState.CLOSED
        self._decided.set()
        self._closed.set()

    def _on_run_done(self, running: asyncio.Task[None]) -> None:
        """Wake all waiters, however the task has ended."""
        cancelled, self._attempt_cancelled = self._attempt_cancelled, False
        if self.state is ConnectionState.CLOSED:
            self._finish()
            return
        if running.cancelled() and cancelled:
            self.state = ConnectionState.IDLE
            self._decided.set()
            return
        error = _cancelled_by_program(self.name) if running.cancelled() else running.exception()
        if isinstance(error, ConnectionLostError) and self._is_connecting():
            self.state, self.last_error = ConnectionState.IDLE, error  # connect() may be tried again
            self._decided.set()
        elif isinstance(error, Exception):
            self.last_error = self._fatal = error
            _log.log(
                logging.WARNING if running.cancelled() else logging.ERROR, "%s: giving up: %s", self.name, error,
                extra=log_fields("connection.given_up", instance=self.name, error=error),
            )  # fmt: skip
            session, self.session = self.session, None
            if session is not None:
                session.give_up(ConnectionLostError(str(error)))  # ends what is pending
            self._finish()
            self._on_give_up(error)
        else:
            self._finish()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            session = await self._connector.connect(self._connect_timeout if self._is_connecting() else None)
            if self.state is ConnectionState.CLOSED:
                await session.close()
                return
            self._on_ready(session)
            ready_since = loop.time()
            await session.lost.wait()
            if session.forked:
                return
            lost_at = loop.time()
            self._losses += 1
            self._blocked += session.blocked_for
            self.session = None
            self._decided.clear()
            self.state, self.last_error = ConnectionState.LOST, session.error
            _log.warning(
                "%s: %s; reconnecting", self.name, session.error,
                extra=log_fields("connection.lost", instance=self.name, peer=session.endpoint, error=session.error),
            )  # fmt: skip
            if self._on_lost is not None and session.error is not None:
                self._on_lost(session, session.error)
            await session.close()
            self._connector.connection_lost(lost_at)
            if lost_at - ready_since > _STABLE_AFTER:
                self._loss_backoff.reset()
            else:
                await asyncio.sleep(self._loss_backoff.next())

    def counts(self) -> ConnectionCounts:
        """Return what has happened to the connections."""
        session = self.session
        blocked = 0.0 if session is None else session.blocked_for
        return ConnectionCounts(self._losses, max(0, self._made - 1), self._blocked + blocked)

    def _is_connecting(self) -> bool:
        """Whether the very first connection is being made."""
        return self.state is ConnectionState.CONNECTING and not self._was_ready

    def _on_attempt_failed(self, error: Exception) -> None:
        self.last_error = error

    def _on_curable_refusal(self, error: ConfigurationError | None) -> None:
        """Let everybody who waits for a connection know that waiting does not help, or that it may help again."""
        self._refusal = error
        if self.state is ConnectionState.LOST:
            (self._decided.clear if error is None else self._decided.set)()
            if self._on_refused is not None:
                self._on_refused(error)

    def _on_ready(self, session: SessionT) -> None:
        self.session, self._refusal = session, None
        self._made += 1
        self._was_ready = True
        self.state, self.last_error = ConnectionState.READY, None
        _log.info(
            "%s is connected to %s", self.name, session.endpoint,
            extra=log_fields("connection.ready", instance=self.name, peer=session.endpoint),
        )  # fmt: skip
        self._decided.set()
        if self._on_set_up is not None:
            self._on_set_up(session)


def _cancelled_by_program(name: str) -> ConnectionLostError:
    return ConnectionLostError(
        f"the task that keeps {name} connected was cancelled by the program, as asyncio.run() does with all tasks when "
        "it ends: await connect() to connect again"
    )
