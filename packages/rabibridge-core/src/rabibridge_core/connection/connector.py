"""Makes a connection that is set up: tries all hosts in turn, with back-off, and tells refusals from failures."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Generic

from rabibridge_core._concurrency.backoff import Backoff
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core.connection.sessions import SessionT
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from rabibridge_core.connection.sessions import Opener
    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["Connector"]

_log = get_logger(__name__)
_FIRST_DELAY = 0.05
_MAX_DELAY = 5.0
_MAX_REFUSALS = 8
"""How often in a row a broker that has accepted us before may refuse the log-in before we give up: the service that
checks passwords may be down for a moment."""
_LOG_INTERVAL = 60.0
"""How often to log why there is still no connection, in seconds."""
_FIRST_LOG_INTERVAL = 2.0
"""The same while somebody waits for the first connection, which is given up after a while."""


class Connector(Generic[SessionT]):
    """Connects to one of several hosts.

    The hosts are tried in turn. The delay after each round doubles from 50 ms up to 5 s; half of it is random, so that
    many clients do not reconnect in step.
    """

    def __init__(
        self,
        opener: Opener[SessionT],
        endpoints: Sequence[Endpoint],
        name: str,
        set_up: Callable[[SessionT], Awaitable[None]],
        on_failure: Callable[[Exception], None],
        on_refused: Callable[[ConfigurationError | None], None],
    ) -> None:
        """Prepare to connect.

        Args:
            opener: opens sessions.
            endpoints: the hosts, in the order in which they are tried.
            name: the name under which the broker lists the connection.
            set_up: called with every new connection before it counts as ready.
            on_failure: called with the reason after each failed attempt.
            on_refused: called after each failed round, with the reason if every host refuses in a way that can be
                cured while the program runs, such as a certificate.
        """
        self._opener, self._endpoints = opener, endpoints
        self._name = name
        self._set_up = set_up
        self._on_failure = on_failure
        self._on_refused = on_refused
        self._backoff = Backoff(_FIRST_DELAY, _MAX_DELAY)
        self._last_endpoint: Endpoint | None = None  # None: never connected
        self._lost_at = 0.0
        self._refusals = 0
        self._failure: Exception | None = None
        self._attempts = 0
        self._deadline: float | None = None
        self._logged_at: float | None = None
        self._logged_kinds = set[type[Exception]]()
        self._logged_refusal = ""

    async def connect(self, timeout: float | None) -> SessionT:
        """Try all hosts until a connection is set up, and return it.

        Args:
            timeout: time in seconds after which to give up, once every host was tried; ``None`` for no limit.

        Raises:
            ConfigurationError: a broker refuses the connection permanently.
            ConnectionLostError: no connection could be made within ``timeout``.
        """
        loop = asyncio.get_running_loop()
        self._attempts, self._logged_at, self._logged_refusal = 0, None, ""
        self._deadline = deadline = None if timeout is None else loop.time() + timeout
        while True:
            refusals: list[ConfigurationError] = []
            for endpoint in self._endpoints:
                session = await self._try(endpoint, refusals)
                if session is not None:
                    self._last_endpoint = endpoint
                    self._refusals, self._failure = 0, None
                    return session
            if refusals and self._last_endpoint is None:
                raise refusals[0]
            self._on_refused(refusals[0] if len(refusals) == len(self._endpoints) else None)
            delay = self._backoff.next()
            if deadline is not None:
                remaining = deadline - loop.time()
                if remaining <= 0 and self._failure is not None:
                    raise ConnectionLostError(
                        f"{self._failure}; gave up after {self._attempts} attempts in connect_timeout={timeout:g} s",
                        executed=False,
                    ) from self._failure.__cause__
                delay = min(delay, max(remaining, 0))  # the last attempt is made when the time is up
            await asyncio.sleep(delay)

    def connection_lost(self, at: float) -> None:
        """Start again without delay after a connection was lost; ``at`` is the time of the loss on the event loop."""
        self._lost_at = at
        self._backoff.reset()

    async def _try(self, endpoint: Endpoint, refusals: list[ConfigurationError]) -> SessionT | None:
        """Return a connection that is set up, or ``None`` if another attempt may succeed.

        A refusal that can be cured, such as that of a certificate, is added to ``refusals``. However often that
        happens, it does not end the attempts of a program that was connected: files and brokers are mended while it
        runs.

        Raises:
            ConfigurationError: the broker refuses the connection permanently.
        """
        session: SessionT | None = None
        try:
            session = await self._opener.open(endpoint)
            await self._opener.settled(session, self._last_endpoint, self._lost_at)
            await self._set_up(session)
            if session.error is not None:
                raise session.error
        except BaseException as error:
            if session is not None:
                await session.close()
            if not isinstance(error, Exception):
                raise
            if isinstance(error, self._opener.curable):
                refused = ConfigurationError(str(error))
                refused.__cause__ = error.__cause__
                refusals.append(refused)
                error = refused
            elif isinstance(error, ConfigurationError):
                self._refusals += 1
                if self._last_endpoint is None or self._refusals > _MAX_REFUSALS:
                    raise
            elif not isinstance(error, ConnectionLostError):
                _log.exception(
                    "%s: unexpected error while connecting to %s", self._name, endpoint,
                    extra=log_fields("connection.attempt_failed", instance=self._name, peer=endpoint, error=error),
                )  # fmt: skip
                error = ConnectionLostError(f"{type(error).__name__}: {error}", executed=False)
            self._record(error, curable=bool(refusals) and error is refusals[-1])
            return None
        return session

    def _record(self, error: Exception, *, curable: bool) -> None:
        """Report why an attempt failed, and log it the first time and then once per interval."""
        now = asyncio.get_running_loop().time()
        self._attempts += 1
        if curable and self._last_endpoint is None:
            if len(self._endpoints) > 1:  # otherwise it ends the attempts, which is logged
                _log.warning(
                    "%s: %s; trying the other hosts", self._name, error,
                    extra=log_fields(
                        "connection.attempt_failed", instance=self._name, attempt=self._attempts, error=error
                    ),
                )  # fmt: skip
        elif self._is_worth_a_line(error, now, curable=curable):
            self._logged_at = now
            left = "" if self._deadline is None else f" for another {max(self._deadline - now, 0):.1f} s"
            level = logging.ERROR if curable else logging.WARNING
            _log.log(
                level, "%s: %s; attempt %d, retrying%s", self._name, error, self._attempts, left,
                extra=log_fields("connection.attempt_failed", instance=self._name, attempt=self._attempts, error=error),
            )  # fmt: skip
        self._failure = error
        self._on_failure(error)

    def _is_worth_a_line(self, error: Exception, now: float, *, curable: bool) -> bool:
        interval = _LOG_INTERVAL if self._deadline is None else _FIRST_LOG_INTERVAL
        is_news = curable and str(error) != self._logged_refusal
        if curable:
            self._logged_refusal = str(error)
        if self._logged_at is None or now - self._logged_at > interval:
            self._logged_kinds.clear()
        is_news = is_news or type(error) not in self._logged_kinds  # a refusal must not hide behind a lost connection
        self._logged_kinds.add(type(error))
        return is_news
