"""Keeping a connection up: one small state machine, the same set-up on every new connection."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from rabibridge._connection.session import Session
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_core.transport import ConnectionState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge_core.settings import Settings
    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["SupervisedConnection"]

_log = logging.getLogger(__name__)
_BACK_OFF_FIRST = 0.05
_BACK_OFF_MOST = 5.0
_STOOD = 1.0
"""A connection that stood for this long is made anew at once when it is lost, in seconds."""
_REFUSALS = 8
"""How often a broker that had let us in may refuse us before that is final: what checks log-ins may be away."""
_LEADER_ELECTED = 1.0
"""How long after the loss of a node a cluster may take to agree on new leaders of its quorum queues, in seconds."""
_WAITS_FOR_LEADERS = (3, 12, 5)
"""From this version on, a channel that meets a queue without a leader finds the new one by itself. Before, RabbitMQ
refuses whatever it is sent for that queue until the lost node is back."""
_LOG_AGAIN = 60.0
"""How often to log why there is still no connection, in seconds."""


class SupervisedConnection:
    """Connects, and connects again whenever the connection is lost, until it is closed or refused for good.

    The hosts are tried in turn; after each round the wait doubles, from 50 ms up to 5 s, half of it at random so that
    many clients do not come back in step.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        set_up: Callable[[Session], Awaitable[None]],
        gave_up: Callable[[Exception], None],
    ) -> None:
        """Run ``set_up`` on every new connection before it is ready; tell ``gave_up`` when there will be none."""
        self.state = ConnectionState.IDLE
        self.last_error: Exception | None = None
        self.session: Session | None = None
        self.name = name
        self._settings = settings
        self._set_up = set_up
        self._gave_up = gave_up
        self._settled = asyncio.Event()  # ready, failed or over: nothing to wait for now
        self._over = asyncio.Event()
        self._fatal: Exception | None = None
        self._running: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._back_off = _BACK_OFF_FIRST
        self._was_ready = False
        self._last_endpoint: Endpoint | None = None
        self._lost_at = 0.0
        self._refusals = 0
        self._logged_at: float | None = None

    async def connect(self) -> None:
        """Wait for the first connection, for as long as ``connect_timeout`` says and at least one try at each host.

        After ConnectionLostError it can be called again.

        Raises:
            ConnectionLostError: no host could be reached.
            ConfigurationError: a broker refuses us for good.
        """
        if self.state is ConnectionState.IDLE:
            self.state, self.last_error = ConnectionState.CONNECTING, None
            self._settled.clear()
            self._running = asyncio.create_task(self._run(), name=f"{self.name}-connection")
            self._running.add_done_callback(self._ran)
        await self.ready()

    async def ready(self) -> Session:
        """Wait for a connection that is set up, and return it.

        Raises:
            ConnectionLostError: it is closed, was never connected, or could not be connected.
            ConfigurationError: a broker has refused us for good.
        """
        while self.session is None:
            if self._fatal is not None:
                raise type(self._fatal)(str(self._fatal)) from self._fatal
            if self.state is ConnectionState.CLOSED:
                raise ConnectionLostError(f"{self.name} is closed", executed=False)
            if self.state is ConnectionState.IDLE:
                why = self.last_error or f"{self.name} is not connected: await connect() first"
                raise ConnectionLostError(str(why), executed=False) from self.last_error
            await self._settled.wait()
        return self.session

    async def close(self) -> None:
        """Close for good. It goes on to its end whoever stops waiting for it."""
        if self._closing is None:
            self.state = ConnectionState.CLOSED
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        session, self.session = self.session, None
        try:
            while self._running is not None and not self._running.done():
                self._running.cancel()  # again, should a cancellation get lost in the libraries below
                await asyncio.wait((self._running,), timeout=1)
            if session is not None:
                await session.close()
        finally:
            self._end()

    async def wait_closed(self) -> None:
        """Wait until it is closed; raise what closed it, where that was not :meth:`close`."""
        await self._over.wait()
        if self._fatal is not None:
            raise self._fatal

    def _end(self) -> None:
        self.state = ConnectionState.CLOSED
        self._settled.set()
        self._over.set()

    def _ran(self, running: asyncio.Task[None]) -> None:
        """Tell everybody who waits, however the task has ended."""
        if running.cancelled():
            self._end()
            return
        error = running.exception()
        if isinstance(error, ConnectionLostError) and not self._was_ready and self.state is ConnectionState.CONNECTING:
            self.state = ConnectionState.IDLE  # connect() may be tried again
            self._settled.set()
        elif isinstance(error, Exception):
            self.last_error = self._fatal = error
            _log.error("%s gives up: %s", self.name, error)
            self._end()
            self._gave_up(error)
        else:
            self._end()

    async def _run(self) -> None:
        pause = 0.0
        loop = asyncio.get_running_loop()
        while True:
            session = await self._next_session()
            if self.state is ConnectionState.CLOSED:
                await session.close()
                return
            self._ready(session)
            ready_since = loop.time()
            await session.lost.wait()
            self._lost_at = loop.time()
            stood = self._lost_at - ready_since
            self.session = None
            self._settled.clear()
            self.state, self.last_error = ConnectionState.LOST, session.error
            _log.warning("%s: %s; connecting again", self.name, session.error)
            await session.close()
            self._back_off, self._logged_at = _BACK_OFF_FIRST, None
            # A connection that goes as soon as it is used must not become a storm of log-ins.
            pause = 0.0 if stood > _STOOD else min(2 * pause or _BACK_OFF_FIRST, _STOOD)
            await asyncio.sleep(pause * random.uniform(0.5, 1))

    async def _next_session(self) -> Session:
        """Return a connection that is set up, however long that takes.

        Raises:
            ConfigurationError: a broker refuses us for good.
            ConnectionLostError: the very first one could not be made in time.
        """
        loop = asyncio.get_running_loop()
        give_up = loop.time() + self._settings.connect_timeout if self.state is ConnectionState.CONNECTING else None
        while True:
            for endpoint in self._settings.endpoints:
                session = await self._try(endpoint)
                if session is not None:
                    return session
            if give_up is not None and loop.time() + self._back_off >= give_up and self.last_error is not None:
                raise self.last_error
            await asyncio.sleep(self._back_off * random.uniform(0.5, 1))
            self._back_off = min(self._back_off * 2, _BACK_OFF_MOST)

    async def _try(self, endpoint: Endpoint) -> Session | None:
        """Return a connection that is set up, or ``None`` if another try may bring it.

        Raises:
            ConfigurationError: the broker refuses us for good.
        """
        session: Session | None = None
        try:
            session = await Session.dial(endpoint, self._settings, self.name)
            await self._leaders_elected(session)
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
                if not self._was_ready or self._refusals > _REFUSALS:
                    raise
            elif not isinstance(error, ConnectionLostError):
                _log.exception("%s: connecting to %s failed in an unexpected way", self.name, endpoint)
                error = ConnectionLostError(f"{type(error).__name__}: {error}", executed=False)
            self._note(error)
            return None
        return session

    async def _leaders_elected(self, session: Session) -> None:
        """Let a cluster that has just lost a node elect new leaders, where an old broker must not be asked before."""
        if self._last_endpoint not in (None, session.endpoint) and session.broker_version < _WAITS_FOR_LEADERS:
            left = self._lost_at + _LEADER_ELECTED - asyncio.get_running_loop().time()
            if left > 0:
                await asyncio.sleep(left)

    def _note(self, error: Exception) -> None:
        """Keep why there is no connection; log it the first time and once in a while."""
        now = asyncio.get_running_loop().time()
        if self._logged_at is None or now - self._logged_at > _LOG_AGAIN:
            self._logged_at = now
            _log.warning("%s: %s; trying again", self.name, error)
        self.last_error = error

    def _ready(self, session: Session) -> None:
        self.session = session
        self._was_ready = True
        self._last_endpoint = session.endpoint
        self._refusals, self._logged_at = 0, None
        self.state, self.last_error = ConnectionState.READY, None
        _log.info("%s is connected to %s", self.name, session.endpoint)
        self._settled.set()
