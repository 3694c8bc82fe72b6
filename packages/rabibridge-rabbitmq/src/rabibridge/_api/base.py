"""What a client and a server have in common."""

from __future__ import annotations

import asyncio
import os
import socket
import warnings
from typing import TYPE_CHECKING, Protocol, Self

from rabibridge.settings import RABBITMQ
from rabibridge_core._codec.codec import Codec
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.plugins import plugin_manager
from rabibridge_core.plugins.resolver import is_overridden, resolve_transport
from rabibridge_core.settings import Settings, load_settings
from rabibridge_core.transport import ConnectionState

if TYPE_CHECKING:
    import ssl as _ssl
    from collections.abc import Sequence
    from types import TracebackType

    from rabibridge_core._codec.serializers import Serializer
    from rabibridge_core.transport import Transport

__all__ = ["RMQBase"]


class _Engine(Protocol):
    """What works on the connection, and connects and closes it."""

    async def connect(self) -> None: ...

    async def close(self) -> None: ...


class RMQBase:
    """What a client and a server have in common: settings, one connection to RabbitMQ, connecting and closing.

    Each setting comes from the argument if it is given, else from the environment, else from the configuration file;
    docs/configuration.md has them all. Nothing is connected before :meth:`connect`. Objects of this class itself do
    nothing but connect.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        *,
        url: str | Sequence[str] | None = None,
        virtualhost: str | None = None,
        ssl: _ssl.SSLContext | bool | None = None,
        serializer: str | Serializer | None = None,
        accept: Sequence[str | Serializer] | None = None,
        transport: Transport | None = None,
        name: str | None = None,
    ) -> None:
        """Collect the settings.

        Args:
            loop: the event loop that :meth:`connect` will run on; another one is an error then. ``None``: whichever
                it is. There is no reason to give it but compatibility.
            host: one host, several separated by commas, or a list; each may carry ``:port``. The first that can be
                reached is used.
            port: port of the hosts that carry none.
            username: user name.
            password: password. It shows in no repr, log or error.
            url: ``amqp://user:password@host:port/virtualhost``, or several; instead of the four before.
            virtualhost: virtual host; ``None``: as configured, else ``/``.
            ssl: ``True`` for TLS with the system's certificates, or a context of your own.
            serializer: how calls are encoded: ``"msgpack"`` (the default), ``"json"``, ``"pickle"``, ``"cloudpickle"``,
                or one from a plug-in.
            accept: which serializers may come in, by name; ``None``: msgpack, json and ``serializer``.
            transport: a transport to use instead of the configured broker, not connected yet.
            name: how the broker lists this connection and how logs call it; ``None``: program, host and process id.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        needs_broker = transport is None and not is_overridden()
        self.settings: Settings = load_settings(
            host=host,
            port=port,
            username=username,
            password=password,
            url=url,
            virtualhost=virtualhost,
            ssl=ssl,
            serializer=serializer if isinstance(serializer, str) else None,
            require_broker=needs_broker,
            transport_name=RABBITMQ.name,
        )
        self.loop = loop
        self.name = name or f"{type(self).__name__}@{socket.gethostname()}:{os.getpid()}"
        self._codec = _codec(self.settings, serializer, accept)
        self._transport = transport or resolve_transport(self.settings, self.name)
        self._engine = self._make_engine()

    def _make_engine(self) -> _Engine:
        """Return what is connected and closed: a subclass gives what it does with the connection."""
        return self._transport

    def __repr__(self) -> str:
        """Show where it connects to, and the state."""
        where = ", ".join(map(str, self.settings.endpoints))
        return f"<{type(self).__name__} {self.name!r} {where} {self.state.value}>"

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        return self._transport.state

    @property
    def last_error(self) -> Exception | None:
        """What went wrong with the connection last: why there is none. ``None`` while it stands."""
        return self._transport.last_error

    async def connect(self) -> Self:
        """Connect; without effect when connected.

        Raises:
            ConnectionLostError: no broker could be reached within ``connect_timeout``, or it is closed.
            ConfigurationError: the broker refuses for good, or ``loop`` is not the running event loop.
        """
        self._check_loop()
        await self._engine.connect()
        return self

    async def close(self) -> None:
        """Disconnect; without effect when closed."""
        await self._engine.close()

    def __del__(self) -> None:
        """Warn of one that was dropped open: its connection lives on."""
        transport = getattr(self, "_transport", None)
        if transport is not None and transport.state not in (ConnectionState.IDLE, ConnectionState.CLOSED):
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=1)

    async def __aenter__(self) -> Self:
        """Connect."""
        try:
            return await self.connect()
        except BaseException:
            await self.close()
            raise

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()

    def _check_loop(self) -> None:
        if self.loop is not None and self.loop is not asyncio.get_running_loop():
            raise ConfigurationError(
                f"loop={self.loop!r} is not the event loop that runs here: leave the argument out, or call connect() "
                "on that loop"
            )


def _codec(settings: Settings, serializer: str | Serializer | None, accept: Sequence[str | Serializer] | None) -> Codec:
    plugin_manager().load_serializers()
    return Codec(
        serializer=serializer if serializer is not None else settings.serializer,
        accept=accept,
        compress_threshold=settings.compress_threshold,
        max_body=settings.max_body,
        max_decompressed=settings.max_decompressed,
        signing_key=settings.signing_key.reveal().encode() if settings.signing_key else None,
        trust_broker=settings.trust_broker,
    )
