"""One connection to the broker, from log-in to loss. It is never mended: a lost one is replaced by the next."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl as _ssl
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from aio_pika import Connection
from yarl import URL

from rabibridge._connection.error_translation import translated
from rabibridge._connection.multiplexer import TapFactory
from rabibridge.settings import rabbitmq_settings
from rabibridge_core.errors import ConfigurationError, ConnectionLostError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiormq.abc import AbstractChannel

    from rabibridge._connection.multiplexer import Multiplexer
    from rabibridge_core.settings import Settings
    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["CONTROL_TIMEOUT", "Session"]

_log = logging.getLogger(__name__)
_REFUSED_FOR_GOOD = (403, 530)
"""Reply codes with which the broker refuses user, password or virtual host."""
_CLOSE_TIMEOUT = 5.0
_FRAME_MAX_LEAST = 4096
"""No broker may agree on smaller frames, in bytes (AMQP 0-9-1, section 4.2.3)."""
CONTROL_TIMEOUT = 30.0
"""How long the broker may take for what is rare: declaring, consuming, opening a channel; in seconds."""


class _TappedConnection(Connection):
    """aio-pika's plain connection over a socket of ours."""

    def __init__(self, url: URL, factory: TapFactory, client_properties: dict[str, Any]) -> None:
        super().__init__(url, client_properties=client_properties)
        self.kwargs["transport_factory"] = factory


class Session:
    """An open connection."""

    def __init__(self, endpoint: Endpoint, settings: Settings, tap: Multiplexer, connection: Connection) -> None:
        """Watch over a connection that is open; use :meth:`dial`."""
        underlay = connection.transport
        assert underlay is not None
        self.endpoint = endpoint
        self.tap = tap
        self.max_body = settings.max_body
        own = rabbitmq_settings(settings)
        self.direct_reply = own.direct_reply
        self.exchange_declared = False
        self.lost = asyncio.Event()
        self._connection = connection
        self._amqp: Any = underlay.connection
        frame_max = self._amqp.connection_tune.frame_max
        if 0 < frame_max < _FRAME_MAX_LEAST:
            error = ConnectionLostError(f"{endpoint} allows frames of only {frame_max} bytes", executed=False)
            tap.abort(error)
            raise error
        self.max_payload = frame_max - 8 if frame_max else 128 * 1024
        tap.agree(frame_max)
        tap.on_lost = self._on_lost
        self._heartbeat = own.heartbeat
        self._loop = asyncio.get_running_loop()
        self._watched = self._loop.time()
        self._watch = self._loop.call_later(self._heartbeat / 2, self._check)
        if tap.error is not None:
            self._on_lost(tap.error)

    @classmethod
    async def dial(cls, endpoint: Endpoint, settings: Settings, name: str) -> Session:
        """Connect and log in.

        Raises:
            ConnectionLostError: the broker cannot be reached or went away.
            ConfigurationError: the broker refuses the user, the password or the virtual host.
        """
        what = f"cannot connect to {endpoint}"
        factory: TapFactory | None = None
        try:
            with translated(what):
                async with asyncio.timeout(settings.connect_timeout):
                    factory = await TapFactory.dial(endpoint.host, endpoint.port, _tls(endpoint))
                heartbeat = rabbitmq_settings(settings).heartbeat
                connection = _TappedConnection(_url(endpoint, heartbeat), factory, _client_properties(name))
                await _log_in(connection, factory.tap, endpoint, settings.connect_timeout)
        except BaseException as error:
            if factory is None:
                raise
            factory.tap.abort(ConnectionLostError(what))
            refused = factory.tap.close_code in _REFUSED_FOR_GOOD and "limit" not in factory.tap.refusal
            if isinstance(error, ConnectionLostError) and refused:
                raise ConfigurationError(
                    f"{what}: {factory.tap.refusal}; check the username, the password, and that the user may use the "
                    f"virtual host {endpoint.virtualhost!r}"
                ) from error
            raise
        return cls(endpoint, settings, factory.tap, connection)

    @property
    def broker_version(self) -> tuple[int, ...]:
        """The version that the broker tells, such as ``(3, 12, 5)``; empty where it tells none."""
        version = str(self._amqp.server_properties.get("version", ""))
        return tuple(int(number) for number in re.findall(r"\d+", version)[:3])

    @property
    def error(self) -> ConnectionLostError | None:
        """Why it is lost, ``None`` while it is open."""
        return self.tap.error

    async def open_channel(self, *, confirms: bool = False) -> AbstractChannel:
        """Open a channel that stays open."""
        channel: AbstractChannel = await self._amqp.channel(publisher_confirms=confirms)
        return channel

    @asynccontextmanager
    async def channel(self) -> AsyncIterator[AbstractChannel]:
        """Open a channel for a few operations: whatever goes wrong on it touches no other channel."""
        channel: AbstractChannel = await self._amqp.channel(publisher_confirms=False)
        try:
            yield channel
        finally:
            if not channel.is_closed:
                await channel.close()

    @asynccontextmanager
    async def in_time(self, seconds: float = CONTROL_TIMEOUT) -> AsyncIterator[None]:
        """Give up the connection if the broker does not answer: aiormq cannot abandon an operation on a channel.

        Raises:
            ConnectionLostError: ``seconds`` have passed.
        """
        error = ConnectionLostError(
            f"the broker at {self.endpoint} did not answer within {seconds:g} s", executed=False
        )
        give_up = self._loop.call_later(seconds, self.fail, error)
        try:
            yield
        except BaseException as raised:
            if self.error is error and not isinstance(raised, asyncio.CancelledError):
                raise error from raised
            raise
        finally:
            give_up.cancel()

    def fail(self, error: ConnectionLostError) -> None:
        """Cut the connection at once, for this reason."""
        self.tap.abort(error)

    async def close(self) -> None:
        """Close in good order, or cut after a few seconds."""
        self._watch.cancel()
        self.tap.flush()
        try:
            with translated(f"the connection to {self.endpoint} cannot be closed in good order"):
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await self._connection.close()
        except ConnectionLostError as error:
            _log.warning("%s", error)
        finally:
            self.tap.abort(ConnectionLostError("the connection was closed"))

    def _on_lost(self, error: ConnectionLostError) -> None:
        self._watch.cancel()
        self.lost.set()
        # aiormq's reader would log the loss with a traceback; whoever owns this session logs it in a line. Where the
        # broker has said good-bye, the reader is left to answer.
        if not self.tap.close_code:
            self._amqp._reader_task.cancel()

    def _check(self) -> None:
        """Give up a connection on which nothing has arrived for two heartbeats."""
        now = self._loop.time()
        # Where the loop itself stood still, what has arrived may not have been read yet: look again next time.
        on_time = now - self._watched < self._heartbeat
        self._watched = now
        silence = now - self.tap.last_received
        if on_time and silence > 2 * self._heartbeat:
            self.fail(ConnectionLostError(f"the broker at {self.endpoint} has been silent for {silence:.1f} s"))
        else:
            self._watch = self._loop.call_later(self._heartbeat / 2, self._check)


async def _log_in(connection: Connection, tap: Multiplexer, endpoint: Endpoint, seconds: float) -> None:
    """Log in, or cut the connection: to cancel aiormq would have it wait for a peer that does not answer."""
    error = ConnectionLostError(f"{endpoint} did not answer the log-in within {seconds:g} s", executed=False)
    give_up = asyncio.get_running_loop().call_later(seconds, tap.abort, error)
    connecting = asyncio.ensure_future(connection.connect())
    try:
        await asyncio.shield(connecting)
    except asyncio.CancelledError:
        tap.abort(ConnectionLostError("the log-in was given up", executed=False))
        await asyncio.gather(connecting, return_exceptions=True)
        raise
    except Exception as raised:
        if tap.error is error:
            raise error from raised
        raise
    finally:
        give_up.cancel()


def _url(endpoint: Endpoint, heartbeat: float) -> URL:
    return URL.build(
        scheme="amqps" if endpoint.ssl else "amqp",
        user=endpoint.username,
        password=endpoint.password.reveal(),
        host=endpoint.host,
        port=endpoint.port,
        path="/" + endpoint.virtualhost,
        query={"heartbeat": str(max(1, round(heartbeat)))},
    )


def _tls(endpoint: Endpoint) -> _ssl.SSLContext | None:
    if isinstance(endpoint.ssl, _ssl.SSLContext):
        return endpoint.ssl
    return _ssl.create_default_context() if endpoint.ssl else None


def _client_properties(name: str) -> dict[str, Any]:
    return {"connection_name": name, "product": "RabiBridge", "version": version("rabibridge-rabbitmq")}
