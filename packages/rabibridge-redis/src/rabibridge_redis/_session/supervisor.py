"""Keeps a session open: connects, and connects again with back-off, until it is closed or permanently refused."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from rabibridge_core._concurrency.backoff import Backoff
from rabibridge_core._concurrency.left_tasks import drop_tasks
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_core.transport import ConnectionState
from rabibridge_redis._session.session import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge_core.settings import Settings

__all__ = ["Supervisor"]

_log = get_logger(__name__)
_FIRST_DELAY, _MAX_DELAY = 0.05, 5.0
_STABLE_AFTER = 1.0
_LOG_INTERVAL = 60.0
_FIRST_LOG_INTERVAL = 2.0
_MAX_REFUSALS = 8


class Supervisor:
    """Makes one session after the other. The hosts are tried in turn; the delay after each round doubles up to 5 s."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        set_up: Callable[[Session], Awaitable[None]],
        on_lost: Callable[[Session, ConnectionLostError], None],
        on_give_up: Callable[[Exception], None],
    ) -> None:
        """Prepare to connect.

        Args:
            settings: endpoints, timeouts and limits.
            name: the name under which the server lists the connection.
            set_up: called with each new session before it counts as ready.
            on_lost: called with each session that is lost.
            on_give_up: called with the reason when no further session will be made.
        """
        self.state, self.last_error = ConnectionState.IDLE, None
        self.session: Session | None = None
        self.name = name
        self.connect_timeout = settings.connect_timeout
        self._settings, self._set_up = settings, set_up
        self._on_lost, self._on_give_up = on_lost, on_give_up
        self._decided, self._closed = asyncio.Event(), asyncio.Event()
        self._fatal: Exception | None = None
        self._running: asyncio.Task[None] | None = None
        self._connecting, self._was_ready, self._refusals = 0, False, 0
        self._logged_at: float | None = None

    state: ConnectionState
    last_error: Exception | None

    async def connect(self) -> None:
        """Wait for the first session, up to ``connect_timeout``.

        Raises:
            ConnectionLostError: no host could be reached; it can be called again.
            ConfigurationError: a server refuses permanently.
        """
        if self.state is ConnectionState.IDLE:
            self.state, self.last_error = ConnectionState.CONNECTING, None
            self._decided.clear()
            self._running = asyncio.create_task(self._run(), name=f"{self.name}-connection")
            self._running.add_done_callback(self._ended)
        self._connecting += 1
        try:
            await self.ready()
        except asyncio.CancelledError:
            if self._connecting == 1 and not self._was_ready and self._running is not None:
                self._running.cancel()
            raise
        finally:
            self._connecting -= 1

    async def ready(self) -> Session:
        """Wait for a session that is set up, and return it.

        Raises:
            ConnectionLostError: it is closed, was never connected, or the first connection failed.
            ConfigurationError: a server refuses permanently.
        """
        while self.session is None:
            if self._fatal is not None:
                raise type(self._fatal)(str(self._fatal)) from self._fatal
            if self.state is ConnectionState.CLOSED:
                raise ConnectionLostError(f"{self.name} is closed", executed=False)
            if self.state is ConnectionState.IDLE:
                why = self.last_error or f"{self.name} is not connected: await connect() first"
                raise ConnectionLostError(str(why), executed=False)
            await self._decided.wait()
        return self.session

    async def within_timeout(self) -> Session:
        """Wait for a session as :meth:`ready`, but not longer than ``connect_timeout``.

        Raises:
            ConnectionLostError: as :meth:`ready`, or it takes too long.
        """
        try:
            async with asyncio.timeout(self.connect_timeout):
                return await self.ready()
        except TimeoutError:
            why = f"{self.name} has no connection after {self.connect_timeout:g} s: {self.last_error}"
            raise ConnectionLostError(why, executed=False) from self.last_error

    async def _run(self) -> None:
        loop, backoff = asyncio.get_running_loop(), Backoff(_FIRST_DELAY, _STABLE_AFTER)
        while True:
            session = await self._next_session()
            self._was_ready, self.session, self.last_error = True, session, None
            self.state = ConnectionState.READY
            _log.info(
                "%s is connected to %s",
                self.name,
                session.endpoint,
                extra=log_fields("connection.ready", instance=self.name, peer=session.endpoint),
            )
            self._decided.set()
            since = loop.time()
            await session.lost.wait()
            if session.forked or self.state is ConnectionState.CLOSED:
                return
            assert session.error is not None
            self.session = None
            self._decided.clear()
            self.state, self.last_error = ConnectionState.LOST, session.error
            _log.warning(
                "%s: %s; reconnecting",
                self.name,
                session.error,
                extra=log_fields("connection.lost", instance=self.name),
            )
            self._on_lost(session, session.error)
            if loop.time() - since > _STABLE_AFTER:
                backoff.reset()
            else:
                await asyncio.sleep(backoff.next())

    async def _next_session(self) -> Session:
        loop, backoff = asyncio.get_running_loop(), Backoff(_FIRST_DELAY, _MAX_DELAY)
        deadline = None if self._was_ready else loop.time() + self.connect_timeout
        self._logged_at, attempts = None, 0
        while True:
            for endpoint in self._settings.endpoints:
                attempts += 1
                session = Session(endpoint, self._settings, self.name)
                try:
                    await session.open()
                    await self._set_up(session)
                    if session.error is not None:
                        raise session.error
                except BaseException as error:  # noqa: BLE001 - _failed() raises what is not for us
                    session.fail(ConnectionLostError("the attempt to connect has failed"))
                    self._failed(error, attempts)
                else:
                    self._refusals = 0
                    return session
            delay = backoff.next()
            if deadline is not None:
                left = deadline - loop.time()
                if left <= 0:
                    why = f"{self.last_error}; gave up after {attempts} attempts in {self.connect_timeout:g} s"
                    raise ConnectionLostError(why, executed=False) from self.last_error
                delay = min(delay, left)
            await asyncio.sleep(delay)

    def _failed(self, error: BaseException, attempts: int) -> None:
        """Report an attempt that has failed, and return if another one may succeed."""
        if not isinstance(error, Exception):
            raise error
        if isinstance(error, ConfigurationError):
            self._refusals += 1
            if not self._was_ready or self._refusals > _MAX_REFUSALS:
                raise error
        elif not isinstance(error, ConnectionLostError):
            _log.error(
                "%s: unexpected error while connecting",
                self.name,
                exc_info=error,
                extra=log_fields("connection.failed", instance=self.name, error=error),
            )
            error = ConnectionLostError(f"{type(error).__name__}: {error}", executed=False)
        self.last_error = error
        now = asyncio.get_running_loop().time()
        interval = _LOG_INTERVAL if self._was_ready else _FIRST_LOG_INTERVAL
        if self._logged_at is None or now - self._logged_at > interval:
            self._logged_at = now
            _log.warning(
                "%s: %s; attempt %d, retrying",
                self.name,
                error,
                attempts,
                extra=log_fields("connection.failed", instance=self.name, attempt=attempts, error=error),
            )

    def _ended(self, running: asyncio.Task[None]) -> None:
        """Wake all who wait, however the task has ended."""
        if self.state is ConnectionState.CLOSED:
            self._finish()
            return
        if running.cancelled():
            if not self._was_ready:
                self.state = ConnectionState.IDLE
                self._decided.set()
                return
            error: BaseException | None = ConnectionLostError(
                f"the task that keeps {self.name} connected was cancelled by the program: "
                "await connect() to connect again"
            )
        else:
            error = running.exception()
        if isinstance(error, ConnectionLostError) and not self._was_ready:
            self.state, self.last_error = ConnectionState.IDLE, error
            self._decided.set()
        elif isinstance(error, Exception):
            self.last_error = self._fatal = error
            _log.log(
                logging.ERROR,
                "%s: giving up: %s",
                self.name,
                error,
                extra=log_fields("connection.given_up", instance=self.name, error=error),
            )
            session, self.session = self.session, None
            if session is not None:
                session.fail(ConnectionLostError(str(error)))
            self._finish()
            self._on_give_up(error)
        else:
            self._finish()

    def _finish(self) -> None:
        self.state = ConnectionState.CLOSED
        self._decided.set()
        self._closed.set()

    async def close(self, *queues: str) -> None:
        """Close permanently; what was taken from ``queues`` goes back."""
        self.state = ConnectionState.CLOSED
        session, self.session = self.session, None
        try:
            if session is not None:
                await session.close(*queues)
            while self._running is not None and not self._running.done():
                self._running.cancel()
                await asyncio.wait((self._running,), timeout=1)
        finally:
            self._finish()

    def abandon(self) -> None:
        """Close permanently without an event loop."""
        self.state = ConnectionState.CLOSED
        session, self.session = self.session, None
        if session is not None:
            session.abandon()
        if self._running is not None:
            drop_tasks(self._running.get_loop(), ("rabibridge_redis", "rabibridge_core"))

    async def wait_closed(self) -> None:
        """Wait until it is closed; raise the error that closed it, unless :meth:`close` did."""
        await self._closed.wait()
        if self._fatal is not None:
            raise self._fatal
