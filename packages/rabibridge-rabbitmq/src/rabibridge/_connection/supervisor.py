"""Keeps a connection open: connects, reconnects with back-off and runs the same set-up on every new connection."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rabibridge._connection.session import Session
from rabibridge_core._concurrency.background import CloseOnce
from rabibridge_core._concurrency.backoff import Backoff
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_core.transport import ConnectionState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge_core.settings import Settings
    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["SupervisedConnection"]

_log = logging.getLogger(__name__)
_FIRST_DELAY = 0.05
_MAX_DELAY = 5.0
_STABLE_AFTER = 1.0
"""A connection that was open for more than this many seconds is replaced without delay when it is lost."""
_MAX_REFUSALS = 8
"""How often a broker that has accepted us before may refuse the log-in before we give up: the service that checks
passwords may be down for a moment."""
_LEADER_ELECTION_TIME = 1.0
"""How long a cluster that has lost a node may take to elect new leaders of its quorum queues, in seconds."""
_FINDS_NEW_LEADERS = (3, 12, 5)
"""From this version on, a channel that uses a queue without a leader finds the new leader by itself. Earlier versions
refuse all its operations on that queue until the lost node is back."""
_LOG_INTERVAL = 60.0
"""How often to log why there is still no connection, in seconds."""


class SupervisedConnection:
    """Connects, and reconnects whenever the connection is lost, until it is closed or permanently refused.

    The hosts are tried in turn. The delay after each round doubles from 50 ms up to 5 s; half of it is random, so that
    many clients do not reconnect in step.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        set_up: Callable[[Session], Awaitable[None]],
        on_give_up: Callable[[Exception], None],
    ) -> None:
        """Prepare to connect.

        Args:
            settings: endpoints, timeouts and limits.
            name: the name under which the broker lists the connection.
            set_up: called with every new connection before it counts as ready.
            on_give_up: called with the reason when no further connection will be made.
        """
        self.state = ConnectionState.IDLE
        self.last_error: Exception | None = None
        self.session: Session | None = None
        self.name = name
        self._settings = settings
        self._set_up = set_up
        self._on_give_up = on_give_up
        self._decided = asyncio.Event()  # ready, failed or closed: nothing to wait for
        self._closed = asyncio.Event()
        self._fatal: Exception | None = None
        self._running: asyncio.Task[None] | None = None
        self._close_once = CloseOnce()
        self._connect_backoff = Backoff(_FIRST_DELAY, _MAX_DELAY)
        # A connection that is lost as soon as it is used must not cause a storm of log-ins.
        self._loss_backoff = Backoff(_FIRST_DELAY, _STABLE_AFTER)
        self._was_ready = False
        self._last_endpoint: Endpoint | None = None
        self._lost_at = 0.0
        self._refusals = 0
        self._logged_at: float | None = None

    async def connect(self) -> None:
        """Wait for the first connection: up to ``connect_timeout``, and at least one attempt at each host.

        It can be called again after ConnectionLostError.

        Raises:
            ConnectionLostError: no host could be reached.
            ConfigurationError: a broker refuses the connection permanently.
        """
        if self.state is ConnectionState.IDLE:
            self.state, self.last_error = ConnectionState.CONNECTING, None
            self._decided.clear()
            self._running = asyncio.create_task(self._run(), name=f"{self.name}-connection")
            self._running.add_done_callback(self._on_run_done)
        await self.ready()

    async def ready(self) -> Session:
        """Wait for a connection that is set up, and return it.

        Raises:
            ConnectionLostError: it is closed, was never connected, or the first connection failed.
            ConfigurationError: a broker refuses the connection permanently.
        """
        while self.session is None:
            if self._fatal is not None:
                raise type(self._fatal)(str(self._fatal)) from self._fatal
            if self.state is ConnectionState.CLOSED:
                raise ConnectionLostError(f"{self.name} is closed", executed=False)
            if self.state is ConnectionState.IDLE:
                why = self.last_error or f"{self.name} is not connected: await connect() first"
                raise ConnectionLostError(str(why), executed=False) from self.last_error
            await self._decided.wait()
        return self.session

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
        if running.cancelled():
            self._finish()
            return
        error = running.exception()
        if isinstance(error, ConnectionLostError) and not self._was_ready and self.state is ConnectionState.CONNECTING:
            self.state = ConnectionState.IDLE  # connect() may be tried again
            self._decided.set()
        elif isinstance(error, Exception):
            self.last_error = self._fatal = error
            _log.error("%s: giving up: %s", self.name, error)
            self._finish()
            self._on_give_up(error)
        else:
            self._finish()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            session = await self._next_session()
            if self.state is ConnectionState.CLOSED:
                await session.close()
                return
            self._on_ready(session)
            ready_since = loop.time()
            await session.lost.wait()
            self._lost_at = loop.time()
            self.session = None
            self._decided.clear()
            self.state, self.last_error = ConnectionState.LOST, session.error
            _log.warning("%s: %s; reconnecting", self.name, session.error)
            await session.close()
            self._connect_backoff.reset()
            self._logged_at = None
            if self._lost_at - ready_since > _STABLE_AFTER:
                self._loss_backoff.reset()
            else:
                await asyncio.sleep(self._loss_backoff.next())

    async def _next_session(self) -> Session:
        """Try all hosts until a connection is set up, and return it.

        Raises:
            ConfigurationError: a broker refuses the connection permanently.
            ConnectionLostError: the first connection could not be made within ``connect_timeout``.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.connect_timeout if self.state is ConnectionState.CONNECTING else None
        while True:
            for endpoint in self._settings.endpoints:
                session = await self._try(endpoint)
                if session is not None:
                    return session
            too_late = deadline is not None and loop.time() + self._connect_backoff.nominal >= deadline
            if too_late and self.last_error is not None:
                raise self.last_error
            await asyncio.sleep(self._connect_backoff.next())

    async def _try(self, endpoint: Endpoint) -> Session | None:
        """Return a connection that is set up, or ``None`` if another attempt may succeed.

        Raises:
            ConfigurationError: the broker refuses the connection permanently.
        """
        session: Session | None = None
        try:
            session = await Session.connect(endpoint, self._settings, self.name)
            await self._await_leader_election(session)
            await self._set_up(session)
            if session.error is not None:
                raise session.error
        except BaseException as error:
            if session is not None:
                await session.close()
            if not isinstance(error, Exception):
                raise
            if isinstance(error, ConfigurationError):
                self._refusals += 1
                if not self._was_ready or self._refusals > _MAX_REFUSALS:
                    raise
            elif not isinstance(error, ConnectionLostError):
                _log.exception("%s: unexpected error while connecting to %s", self.name, endpoint)
                error = ConnectionLostError(f"{type(error).__name__}: {error}", executed=False)
            self._record_failure(error)
            return None
        return session

    async def _await_leader_election(self, session: Session) -> None:
        """Wait until a cluster that has just lost a node has elected new leaders, if its version requires that."""
        if self._last_endpoint not in (None, session.endpoint) and session.broker_version < _FINDS_NEW_LEADERS:
            remaining = self._lost_at + _LEADER_ELECTION_TIME - asyncio.get_running_loop().time()
            if remaining > 0:
                await asyncio.sleep(remaining)

    def _record_failure(self, error: Exception) -> None:
        """Store why there is no connection, and log it the first time and then once per interval."""
        now = asyncio.get_running_loop().time()
        if self._logged_at is None or now - self._logged_at > _LOG_INTERVAL:
            self._logged_at = now
            _log.warning("%s: %s; retrying", self.name, error)
        self.last_error = error

    def _on_ready(self, session: Session) -> None:
        self.session = session
        self._was_ready = True
        self._last_endpoint = session.endpoint
        self._refusals, self._logged_at = 0, None
        self.state, self.last_error = ConnectionState.READY, None
        _log.info("%s is connected to %s", self.name, session.endpoint)
        self._decided.set()
