"""What clients and servers have in common."""

from __future__ import annotations

import os
import socket
import warnings
from typing import TYPE_CHECKING, Protocol, Self, TypedDict

from rabibridge_core._codec.codec import Codec
from rabibridge_core.plugins import plugin_manager
from rabibridge_core.plugins.resolver import is_overridden, resolve_transport
from rabibridge_core.settings import Settings, load_settings
from rabibridge_core.transport import ConnectionState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from rabibridge_core._codec.serializers import Serializer
    from rabibridge_core.transport import Transport

__all__ = ["RpcBase", "RpcOptions"]


class Engine(Protocol):
    """What connects and closes: a transport, or an engine that owns one."""

    async def connect(self) -> None: ...

    async def close(self) -> None: ...


class RpcOptions(TypedDict, total=False):
    """The keyword arguments of :class:`RpcBase`."""

    url: str | Sequence[str] | None
    settings: Settings | None
    serializer: str | Serializer | None
    accept: Sequence[str | Serializer] | None
    transport: Transport | None
    name: str | None


class RpcBase:
    """What clients and servers have in common: settings, one connection to a broker, connecting and closing.

    Each setting is taken from the argument if it is given, else from the environment, else from the configuration file;
    docs/configuration.md lists them all. Nothing is connected before :meth:`connect`. Objects of this class itself only
    connect.
    """

    def __init__(
        self,
        *,
        url: str | Sequence[str] | None = None,
        settings: Settings | None = None,
        serializer: str | Serializer | None = None,
        accept: Sequence[str | Serializer] | None = None,
        transport: Transport | None = None,
        name: str | None = None,
    ) -> None:
        """Collect the settings.

        Args:
            url: one broker URL or several; its scheme selects the transport. ``None``: as configured.
            settings: complete settings, as :func:`rabibridge_core.settings.load_settings` returns them; nothing is read
                from elsewhere then. Not together with ``url``.
            serializer: how calls are encoded: ``"msgpack"`` (the default), ``"json"``, ``"pickle"``, ``"cloudpickle"``,
                or one from a plug-in.
            accept: which serializers are accepted in what arrives, by name; ``None``: msgpack, json and ``serializer``.
            transport: a transport to use instead of the configured broker, not connected yet.
            name: the name of this connection on the broker and in logs; ``None``: class, host and
                process id, as in ``RMQClient@host:4711``.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        if settings is None:
            settings = load_settings(
                url=url,
                serializer=serializer if isinstance(serializer, str) else None,
                require_broker=needs_broker(transport),
            )
        self.settings: Settings = settings
        self.name = name or f"{type(self).__name__}@{socket.gethostname()}:{os.getpid()}"
        plugin_manager().load_serializers()
        self._codec = Codec.from_settings(settings, serializer=serializer, accept=accept)
        self._transport = transport or resolve_transport(settings, self.name)
        self._engine = self._make_engine()

    def _make_engine(self) -> Engine:
        """Return what :meth:`connect` connects and :meth:`close` closes."""
        return self._transport

    def __repr__(self) -> str:
        """Show the brokers and the state of the connection."""
        where = ", ".join(map(str, self.settings.endpoints))
        return f"<{type(self).__name__} {self.name!r} {where} {self.state.value}>"

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self._transport.state

    @property
    def last_error(self) -> Exception | None:
        """The last error of the connection: why there is none. ``None`` while it is up."""
        return self._transport.last_error

    async def connect(self) -> Self:
        """Connect; no effect when connected.

        Raises:
            ConnectionLostError: no broker could be reached within ``connect_timeout``, or this object is closed.
            ConfigurationError: the broker refuses permanently.
        """
        await self._engine.connect()
        return self

    async def close(self) -> None:
        """Disconnect; no effect when closed."""
        await self._engine.close()

    def __del__(self) -> None:
        """Warn about an object that was dropped while connected: its connection stays open."""
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


def needs_broker(transport: Transport | None) -> bool:
    """Tell whether the settings must name a broker: not if a transport is given or a test has replaced it."""
    return transport is None and not is_overridden()
