"""One connection to the broker, from log-in to loss. A lost session is never reused: a new one replaces it."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from rabibridge._amqp.methods import parse_max_message
from rabibridge._connection.channel_closing import close_channel
from rabibridge._connection.channel_numbers import ChannelNumbers
from rabibridge._connection.dialer import Dialer
from rabibridge._connection.error_translation import translated
from rabibridge._connection.log_in import log_in
from rabibridge._connection.log_in_refusal import refusal_of
from rabibridge._connection.multiplexer_factory import MultiplexerFactory
from rabibridge._connection.names import Names
from rabibridge._connection.silence import SilenceWatch
from rabibridge._connection.tls import check_tls
from rabibridge.settings import rabbitmq_settings
from rabibridge_core._reporting.error_frames import drop_frames
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core._tls.setup import tls_setup
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_core.transport import BrokerAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aio_pika import Connection
    from aiormq.abc import AbstractChannel

    from rabibridge._connection.channel_numbers import UserLimit
    from rabibridge._connection.multiplexer import Multiplexer
    from rabibridge_core._tls.setup import TLSSetup
    from rabibridge_core.settings import Settings
    from rabibridge_core.settings.endpoints import Endpoint

__all__ = ["CONTROL_TIMEOUT", "Session"]

_log = get_logger(__name__)
_CLOSE_TIMEOUT = 5.0
_FRAME_MIN_SIZE = 4096
"""Minimum value of ``frame_max`` in bytes (AMQP 0-9-1, section 4.2.3)."""
CONTROL_TIMEOUT = 30.0
"""How long the broker may take to declare, consume or open a channel, in seconds."""


class Session:
    """An open connection."""

    def __init__(
        self, endpoint: Endpoint, settings: Settings, multiplexer: Multiplexer, connection: Connection, limit: UserLimit
    ) -> None:
        """Supervise an open connection; use :meth:`connect`."""
        underlay = connection.transport
        assert underlay is not None
        self.endpoint = endpoint
        self.broker_address = BrokerAddress(endpoint.host, endpoint.port, multiplexer.peer)
        user_id = endpoint.username.encode()
        self.user_id = user_id if len(user_id) < 256 else b""
        """The name under which messages are published, where that matters; empty: not named."""
        self.identify = settings.identify
        self.multiplexer = multiplexer
        self.max_body = settings.max_body
        own = rabbitmq_settings(settings)
        self.direct_reply = own.direct_reply
        self.names = Names(settings.namespace)
        """The names of exchanges and queues."""
        self.exchange_declared = False
        self.reply_queues = own.reply_queues
        self.max_message: int | None = None
        """Largest body that this broker accepts, in bytes; ``None`` until it has refused a larger one."""
        self._settings, self._expects_close = settings, False
        self.lost = asyncio.Event()
        self._connection = connection
        self._amqp: Any = underlay.connection
        frame_max = self._amqp.connection_tune.frame_max
        if 0 < frame_max < _FRAME_MIN_SIZE:
            error = ConnectionLostError(
                f"{endpoint} allows frames of only {frame_max} bytes; AMQP requires {_FRAME_MIN_SIZE}", executed=False
            )
            multiplexer.abort(error)
            raise error
        self.max_payload = frame_max - 8 if frame_max else 128 * 1024
        self._user_limit = limit
        self.channel_numbers = ChannelNumbers(self._amqp.connection_tune.channel_max, limit)
        multiplexer.set_frame_max(frame_max)
        multiplexer.on_lost = self._on_lost
        self._loop = asyncio.get_running_loop()
        self._silence = SilenceWatch(multiplexer, own.heartbeat, self._on_silence)
        if multiplexer.error is not None:
            self._on_lost(multiplexer.error)

    @classmethod
    async def connect(cls, endpoint: Endpoint, settings: Settings, name: str, dialer: Dialer) -> Session:
        """Connect and log in.

        Raises:
            ConnectionLostError: the broker cannot be reached, or the connection is lost during log-in.
            ConfigurationError: the broker refuses the user, the password or the virtual host; TLSRefusedError if TLS, a
                certificate or the user that a certificate stands for is refused.
        """
        check_tls(settings)
        what, own = f"cannot connect to {endpoint}", rabbitmq_settings(settings)
        factory: MultiplexerFactory | None = None
        tls: TLSSetup | None = None
        try:
            with translated(what):
                async with asyncio.timeout(settings.connect_timeout):
                    tls = tls_setup(endpoint, own)
                    factory = await MultiplexerFactory.connect(endpoint.host, endpoint.port, tls, dialer)
                connection = await log_in(factory, endpoint, name, own, settings.connect_timeout)
        except (ConnectionLostError, ConfigurationError) as raised:
            # The frames below hold the password, and whatever reports errors with the variables of their frames would
            # publish it.
            drop_frames(raised)
            if factory is not None:
                factory.multiplexer.abort(ConnectionLostError(what))
                dialer.log_in_failed()
            refusal = await refusal_of(raised, endpoint, own, factory.multiplexer if factory else None, tls)
            if refusal is not None:
                raise refusal from raised
            raise
        except BaseException:
            if factory is not None:
                factory.multiplexer.abort(ConnectionLostError(what))
            raise
        dialer.log_in_succeeded()
        return cls(endpoint, settings, factory.multiplexer, connection, dialer.user_limit(endpoint))

    @property
    def broker_version(self) -> tuple[int, ...]:
        """The version that the broker reports, such as ``(3, 12, 5)``; empty if it reports none."""
        version = str(self._amqp.server_properties.get("version", ""))
        return tuple(int(number) for number in re.findall(r"\d+", version)[:3])

    @property
    def expects_cancel_ok(self) -> bool:
        """Whether the broker waits for an answer when it cancels a consumer; others close the channel for one."""
        return bool((self._amqp.server_properties.get("capabilities") or {}).get("accept_consumer_cancel_ok"))

    def learn_max_message(self, code: int, text: str) -> bool:
        """Note the largest body that the broker accepts if it has closed a channel because of a larger one.

        Args:
            code: reply code with which it closed the channel.
            text: reply text.

        Returns:
            Whether that was the reason.
        """
        limit = parse_max_message(code, text)
        if limit is not None:
            self.max_message = limit
        return limit is not None

    async def open_another(self, name: str) -> Session:
        """Connect to the same broker once more, for what may make it close the connection.

        The broker lists that connection under ``name``.

        Raises:
            ConfigurationError: as of :meth:`connect`.
            ConnectionLostError: as of :meth:`connect`.
        """
        session = await Session.connect(self.endpoint, self._settings, name, Dialer())
        session._expects_close = True
        return session

    @property
    def error(self) -> ConnectionLostError | None:
        """Why the connection is lost, ``None`` while it is open."""
        return self.multiplexer.error

    @property
    def forked(self) -> bool:
        """Whether this is the copy of a connection in a forked process."""
        return self.multiplexer.forked

    @property
    def blocked_for(self) -> float:
        """For how many seconds of this connection the broker has accepted no messages."""
        return self.multiplexer.blocked_for

    async def open_channel(self, *, confirms: bool = False) -> AbstractChannel:
        """Open a channel that stays open.

        Raises:
            ConfigurationError: all channels that the broker allows on this connection are open.
        """
        channel: AbstractChannel = await self._amqp.channel(self.free_channel(), publisher_confirms=confirms)
        return channel

    def free_channel(self) -> int:
        """Return the number of a channel that is not open.

        Raises:
            ConfigurationError: all channels that the broker allows on this connection are open.
        """
        return self.channel_numbers.free(self._amqp.channels, self.multiplexer.channels)

    @asynccontextmanager
    async def temporary_channel(self) -> AsyncIterator[AbstractChannel]:
        """Open a channel for a few operations, so that an error on it affects no other channel."""
        channel = await self.open_channel()
        try:
            yield channel
        finally:
            await close_channel(channel)

    @asynccontextmanager
    async def timeout(self, seconds: float = CONTROL_TIMEOUT) -> AsyncIterator[None]:
        """Abort the connection if the block takes longer: aiormq cannot abandon a single operation on a channel.

        While the broker blocks the connection because of a resource alarm, it reads nothing: that time does not count.

        Raises:
            ConnectionLostError: the broker did not answer within ``seconds``.
        """
        error = ConnectionLostError(
            f"the broker at {self.endpoint} did not answer within {seconds:g} s", executed=False
        )

        timer: asyncio.TimerHandle

        def expire() -> None:
            nonlocal timer
            if self.multiplexer.blocked is None:
                self.fail(error)
            else:
                timer = self._loop.call_later(seconds, expire)

        timer = self._loop.call_later(seconds, expire)
        try:
            yield
        except BaseException as raised:
            if self.error is error and not isinstance(raised, asyncio.CancelledError):
                raise error from raised
            raise
        finally:
            timer.cancel()

    def fail(self, error: ConnectionLostError) -> None:
        """Close the socket at once; ``error`` is the reason that all channels get."""
        self.multiplexer.abort(error)

    def give_up(self, error: ConnectionLostError) -> None:
        """End it, and let aiormq close the socket: all of its tasks may be ending."""
        self.multiplexer.shut(error)

    def abandon(self) -> None:
        """Close it without an event loop."""
        self.multiplexer.abandon()

    async def unblocked(self, deadline: float) -> None:
        """Wait until the broker reads what is sent to it, so that closing loses nothing.

        Args:
            deadline: when to give up, on the clock of the event loop: the connection is then aborted.
        """
        started = self._loop.time()
        try:
            async with asyncio.timeout_at(deadline):
                while self.error is None and self.multiplexer.blocked is not None:
                    await self.multiplexer.flow_changed()
        except TimeoutError:
            self.fail(
                ConnectionLostError(
                    f"the broker at {self.endpoint} has read nothing for {self._loop.time() - started:.1f} s: "
                    f"{self.multiplexer.blocked}. The last replies may be lost, and their calls may run again"
                )
            )

    async def close(self) -> None:
        """Close with the AMQP handshake, or close just the socket after a few seconds."""
        self._silence.stop()
        self.multiplexer.flush()
        try:
            with translated(f"the connection to {self.endpoint} cannot be closed cleanly"):
                async with asyncio.timeout(_CLOSE_TIMEOUT):
                    await self._connection.close()
        except ConnectionLostError as error:
            _log.warning("%s", error, extra=log_fields("connection.close_failed", peer=self.endpoint, error=error))
        finally:
            self.multiplexer.abort(ConnectionLostError("the connection was closed"))

    def _on_lost(self, error: ConnectionLostError) -> None:
        self._silence.stop()
        self._user_limit.learn(self.multiplexer.close_text, len({*self._amqp.channels, *self.multiplexer.channels}))
        self.lost.set()
        # aiormq's reader would log the loss with a traceback; the owner of this session logs it in one line. If the
        # broker has sent connection.close, the reader must answer it, unless that was to be expected.
        if self._expects_close or not self.multiplexer.close_code:
            self._amqp._reader_task.cancel()

    def _on_silence(self, seconds: float) -> None:
        self.fail(ConnectionLostError(f"the broker at {self.endpoint} has been silent for {seconds:.1f} s"))
