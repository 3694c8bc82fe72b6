"""What clients and servers have in common."""

from __future__ import annotations

import atexit
import os
import socket
import warnings
from typing import TYPE_CHECKING, Protocol, Self, TypedDict
from weakref import WeakSet

from rabibridge_core._api.arguments import check_base_arguments
from rabibridge_core._api.observers import observers_of
from rabibridge_core._codec.codec import Codec
from rabibridge_core._concurrency.home_loop import HomeLoop, running_loop
from rabibridge_core._observability.health import Health
from rabibridge_core._reporting.error_frames import drop_frames
from rabibridge_core._security.guard import Guard
from rabibridge_core._security.setup import has_keys, rules_from
from rabibridge_core._security.transport import GuardedTransport
from rabibridge_core.errors import ConfigurationError, RabiBridgeError
from rabibridge_core.plugins import plugin_manager
from rabibridge_core.plugins.resolver import current_override, resolve_transport
from rabibridge_core.settings import Settings, load_settings
from rabibridge_core.transport import Abandonable, ConnectionState

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from rabibridge_core._codec.serializers import Serializer
    from rabibridge_core.plugins.call_hooks import CallHooks
    from rabibridge_core.plugins.observers import Role
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
    namespace: str | None


class RpcBase:
    """What clients and servers have in common: settings, one connection to a broker, connecting and closing.

    Each setting is taken from the argument if it is given, else from the environment, else from the configuration file;
    docs/configuration.md lists them all. Nothing is connected before :meth:`connect`. Objects of this class itself only
    connect.

    A connection belongs to one event loop of one process; docs/concurrency.md says what that means for threads, forks
    and tests. After :meth:`close` it may be connected again, on any event loop.
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
        namespace: str | None = None,
    ) -> None:
        """Collect the settings.

        Args:
            url: one broker URL or several; its scheme selects the transport. ``None``: as configured.
            settings: complete settings, as :func:`rabibridge_core.settings.load_settings` returns them; nothing is read
                from elsewhere then. Not together with ``url``.
            serializer: how calls are encoded: ``"msgpack"`` (the default), ``"json"``, ``"pickle"``, ``"cloudpickle"``,
                or one from a plug-in.
            accept: which serializers are accepted in what arrives, by name; ``None``: msgpack, json and ``serializer``.
            transport: a transport to use instead of the configured broker, not connected yet. It cannot be connected
                again after :meth:`close`, unless it allows that itself.
            name: the name of this connection on the broker and in logs; ``None``: class, host and process id, as in
                ``RMQClient@host:4711``.
            namespace: the namespace to call or to serve in; ``None``: as configured, else none. Not together with
                ``settings`` or ``transport``, which have theirs.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        check_base_arguments(settings=settings, accept=accept, transport=transport, name=name, namespace=namespace)
        self._given_name = name
        self._given_transport = transport
        try:
            if settings is None:
                settings = load_settings(
                    url=url,
                    serializer=serializer if isinstance(serializer, str) else None,
                    namespace=namespace,
                    require_broker=needs_broker(transport),
                )
            self.settings: Settings = settings
            plugin_manager().load_serializers()
            # What is signed by the key ring may hold what runs code: whatever is not is refused before it is decoded.
            trusts = True if has_keys(settings) else None
            self._codec = Codec.from_settings(settings, serializer=serializer, accept=accept, trust_broker=trusts)
            self._rules = rules_from(settings, self._codec) if trusts else None
            self._start_anew()
        except RabiBridgeError as error:
            drop_frames(error)
            raise
        finally:
            del url  # an error carries this frame, whose variables may be reported

    def _start_anew(self) -> None:
        """Make everything that belongs to one connection: name, transport and engine, with all ids that they draw."""
        self.name = self._given_name or f"{type(self).__name__}@{socket.gethostname()}:{os.getpid()}"
        self._home = HomeLoop(self.name)
        self._connected = self._closing = self._closed = False
        self._made_by = current_override()
        transport = self._given_transport or resolve_transport(self.settings, self.name)
        self._guard: Guard | None = None
        if self._rules is not None:
            self._guard = Guard(self._rules, self.name)
            transport = GuardedTransport(transport, self._guard, self._codec)
        self._transport = transport
        self._engine = self._make_engine()

    @property
    def refused_messages(self) -> Mapping[str, int]:
        """How many messages were refused because of their signature or encryption, by reason.

        Empty without a key ring. The reasons are those of docs/signing.md; connecting anew starts at 0.
        """
        return {} if self._guard is None else self._guard.refusals.counts

    def _make_engine(self) -> Engine:
        """Return what :meth:`connect` connects and :meth:`close` closes."""
        return self._transport

    def _observers(self, role: Role) -> CallHooks:
        """Return what plug-ins observe this client or server with.

        Raises:
            ConfigurationError: a plug-in that the settings switch on is not installed, or refuses them.
        """
        return observers_of(role, self.name, self.settings, self._transport)

    def __repr__(self) -> str:
        """Show the brokers and the state of the connection."""
        if not hasattr(self, "_engine"):
            return f"<{type(self).__name__}, not initialized>"
        where = ", ".join(map(str, self.settings.endpoints))
        return f"<{type(self).__name__} {self.name!r} {where} {self.state.value}>"

    @property
    def state(self) -> ConnectionState:
        """The state of the connection. It is closed where its event loop is closed, and in a forked process."""
        return ConnectionState.CLOSED if self._home.gone else self._transport.state

    @property
    def last_error(self) -> Exception | None:
        """The last error of the connection: why there is none. ``None`` while it is up."""
        gone = self._home.gone
        return ConfigurationError(gone) if gone else self._transport.last_error

    def _health(self, health: Callable[[], Health]) -> Health:
        """Return ``health()``, or why there can be no connection here any more."""
        gone = self._home.gone
        return Health(False, ConnectionState.CLOSED, (gone,)) if gone else health()

    async def connect(self) -> Self:
        """Connect; no effect when connected.

        After :meth:`close`, after the event loop of the connection was closed, and in a forked process it connects
        anew, with new ids. If it is cancelled, it connects no further, unless another task waits for it, too.

        Raises:
            ConnectionLostError: no broker could be reached within ``connect_timeout``, or :meth:`close` was called
                meanwhile.
            ConfigurationError: the broker refuses permanently, it is connected on another event loop, or no asyncio
                event loop runs here.
        """
        loop = running_loop(self.name)
        while self._is_over(loop):
            engine = self._engine
            if self._home.gone:
                self._leave_behind()
            elif self._home.loop in (None, loop):
                await engine.close()
            elif not self._closed and self._transport.state is not ConnectionState.IDLE:
                self._home.check()
            if engine is self._engine:  # no other task was faster
                self._start_anew()
        self._home.enter(loop)
        try:
            await self._engine.connect()
        except RabiBridgeError as error:
            error.__traceback__ = None  # the frames of a failed connection tell nothing that the message does not
            raise
        self._connected = True
        _connected.add(self)
        return self

    def _is_over(self, loop: AbstractEventLoop) -> bool:
        """Whether what was made for a connection cannot be used for the next one."""
        home, state = self._home, self._transport.state
        if home.gone or home.pid != os.getpid() or self._closing:
            return True
        if state is ConnectionState.IDLE:
            override = None if self._given_transport else current_override()
            made_before = override is not None and override is not self._made_by  # a client of a module, now in a test
            return made_before or home.loop not in (None, loop)  # it could not connect there
        return state is ConnectionState.CLOSED and self._given_transport is None

    def _leave_behind(self) -> None:
        """Release a connection whose event loop is closed, and cannot close it any more."""
        if isinstance(self._transport, Abandonable):
            self._transport.abandon()

    async def close(self) -> None:
        """Disconnect; no effect when closed. :meth:`connect` may be called again afterwards.

        Raises:
            ConfigurationError: it is connected on another event loop, which is not closed. Nothing was changed.
        """
        if self._closed:
            return
        if self._home.gone:
            self._leave_behind()
            self._start_anew()
        self._home.check()
        self._closing = True
        try:
            await self._engine.close()
        except ConfigurationError:  # it refuses, because it would wait for its caller
            self._closing = False
            raise
        self._connected, self._closed = False, True

    def __del__(self) -> None:
        """Warn about an object that was dropped without :meth:`close`: its connection may stay open."""
        if getattr(self, "_connected", False):
            self._left_open()

    def _left_open(self) -> None:
        self._connected = False
        if not self._home.forked:
            warnings.warn(f"{self!r} was never closed", ResourceWarning, source=self, stacklevel=1)
        if self._home.gone:
            self._leave_behind()

    async def __aenter__(self) -> Self:
        """Connect."""
        try:
            return await self.connect()
        except BaseException:
            if self._home.is_here:
                await self.close()
            raise

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        await self.close()


_connected: WeakSet[RpcBase] = WeakSet()


@atexit.register
def _at_exit() -> None:
    """Do what the destructors do, while the modules that they need are there."""
    for left in list(_connected):
        if left._connected:
            left._left_open()


def needs_broker(transport: Transport | None) -> bool:
    """Tell whether the settings must name a broker: not if a transport is given or a test has replaced it."""
    return transport is None and current_override() is None
