"""The API of RabiBridge: a client that calls functions in other processes, a server that offers them."""

from __future__ import annotations

import asyncio
import os
import socket
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rabibridge_core.client import Client
from rabibridge_core.codec import Codec
from rabibridge_core.errors import ConfigurationError, RabiBridgeError, RemoteExecutionError
from rabibridge_core.plugins import CallHooks, plugin_manager
from rabibridge_core.registry import Registration, ServiceSchema, services_in
from rabibridge_core.resolver import is_overridden, resolve_transport
from rabibridge_core.server import Server
from rabibridge_core.serving import serve_until_stopped
from rabibridge_core.settings import Settings, load_settings
from rabibridge_core.transport import ConnectionState

if TYPE_CHECKING:
    import ssl as _ssl
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from rabibridge_core.naming import FunctionKind
    from rabibridge_core.reload import PluginFolder
    from rabibridge_core.serializers import Serializer
    from rabibridge_core.transport import Transport

__all__ = ["RMQBase", "RMQClient", "RMQServer"]


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
        )
        self.loop = loop
        self.name = name or f"{type(self).__name__}@{socket.gethostname()}:{os.getpid()}"
        self._codec = _codec(self.settings, serializer, accept)
        self._transport = transport or resolve_transport(self.settings, self.name)
        self._make_engine()

    def _make_engine(self) -> None:
        """Prepare what a subclass does with the connection."""

    def __repr__(self) -> str:
        """Show where it connects to, and the state."""
        where = ", ".join(map(str, self.settings.endpoints))
        return f"<{type(self).__name__} {self.name!r} {where} {self.state.value}>"

    @property
    def state(self) -> ConnectionState:
        """Where the connection stands."""
        return self._transport.state

    async def connect(self) -> Self:
        """Connect; without effect when connected.

        Raises:
            ConnectionLostError: no broker could be reached within ``connect_timeout``.
            ConfigurationError: the broker refuses for good, or ``loop`` is not the running event loop.
        """
        self._check_loop()
        await self._transport.connect()
        return self

    async def close(self) -> None:
        """Disconnect; without effect when closed."""
        await self._transport.close()

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


class RMQClient(RMQBase):
    """Calls functions that servers offer.

    It is made for many concurrent calls on one event loop, as in a gateway: one client per process is enough. After a
    lost connection it connects again by itself.

    Example::

        async with RMQClient() as client:
            print(await client.remote_call("fibonacci", (10,), timeout=5))
    """

    def _make_engine(self) -> None:
        self._client = Client(
            self._transport, self._codec, hooks=CallHooks(), cid_max=self.settings.cid_max, name=self.name
        )

    @property
    def correlation_id(self) -> str:
        """The next id of the counter that numbers the calls; reading it uses one up. Not needed for calling."""
        return self._client.correlation_id

    @property
    def pending(self) -> int:
        """How many calls wait for their reply now."""
        return self._client.pending

    @property
    def stray_replies(self) -> int:
        """How many replies came that no call waited for: late, doubled or forged ones. They are dropped."""
        return self._client.stray_replies

    async def connect(self) -> Self:
        """Connect; without effect when connected. Release it with :meth:`close`, or use ``async with``.

        Raises:
            ConnectionLostError: no broker could be reached within ``connect_timeout``, or the client is closed.
            ConfigurationError: the broker refuses for good, or ``loop`` is not the running event loop.
        """
        self._check_loop()
        await self._client.connect()
        return self

    async def close(self) -> None:
        """Disconnect; calls still under way end with ConnectionLostError. Without effect when closed."""
        await self._client.close()

    async def remote_call(
        self,
        func_name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = {},
        ftype: FunctionKind = "async",
        *,
        timeout: float | None = None,
    ) -> Any:
        """Call ``func_name(*args, **kwargs)`` on some server and return what it returns.

        Cancelling the task that awaits it ends the call here at once; its reply is dropped when it comes.

        Args:
            func_name: the name of the service.
            args: positional arguments.
            kwargs: keyword arguments.
            ftype: ``"async"`` for a coroutine function, ``"sync"`` for any other, ``"any"`` where the caller does not
                know; with RabiBridge 0.1 servers only the first two.
            timeout: for the whole call, in seconds: waiting for a connection, in the queue, and the function itself.
                It travels with the call: the broker drops it from the queue and the worker stops the function at the
                same deadline. ``None``: no limit but the service's own.

        Raises:
            QueueFullError: as many calls wait as the service allows; nothing was queued. Also an
                ``aio_pika.exceptions.DeliveryError``.
            NoRouteError: no such service; the client goes on working. Also an ``aiormq.exceptions.PublishError``.
            CallTimeoutError: the time is over. Also an ``asyncio.TimeoutError``.
            RemoteExecutionError: the function raised; type, message and traceback are in it.
            InvalidArgumentsError: the arguments do not fit the function; it did not run.
            ConnectionLostError: the connection went before the reply came, or the client is not connected.
            SerializationError: the arguments cannot be encoded, or the reply cannot be decoded.
            ContentRejectedError: the call or the reply is too large, or the reply of a type that is not accepted.
            ConfigurationError: no service can have that name.
        """
        return await self._client.call(func_name, args, kwargs, ftype, timeout)

    async def try_remote_call(
        self,
        func_name: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] = {},
        ftype: FunctionKind = "async",
        *,
        timeout: float | None = None,
    ) -> tuple[bool, tuple[int, Any]]:
        """Call as :meth:`remote_call` does, but return failures instead of raising them.

        Returns:
            ``(success, (err_code, result))``. ``(True, (0, result))``: the function's result. ``(True, (1, error))``:
            the call went through and failed on the server, with the RemoteExecutionError. ``(False, (1, error))``: it
            did not go through, with the error that :meth:`remote_call` raises.
        """
        try:
            return True, (0, await self._client.call(func_name, args, kwargs, ftype, timeout))
        except RemoteExecutionError as error:
            return True, (1, error)
        except RabiBridgeError as error:
            return False, (1, error)


class RMQServer(RMQBase):
    """Offers functions to clients.

    Every function runs in its own task (or thread, if it is not async), at most ``fetch_size`` of a service at a time.
    A call is acknowledged after its reply was sent: if the process dies before, another server gets the call.

    Example::

        server = RMQServer()
        server.load_services(globals())
        async with server:
            await server.run_serve()
    """

    def _make_engine(self) -> None:
        drain_timeout = self.settings.drain_timeout
        self._server = Server(
            self._transport, self._codec, hooks=CallHooks(), drain_timeout=drain_timeout, name=self.name
        )
        self._folders: list[PluginFolder] = []

    @property
    def services(self) -> tuple[ServiceSchema, ...]:
        """The services that are loaded."""
        return tuple(self._server.registry)

    def load_services(self, symbols: Mapping[str, object]) -> None:
        """Take up every function in the mapping that is decorated with ``@register_call``, imported ones too.

        Args:
            symbols: names and objects, such as ``globals()``.

        Raises:
            RegistrationError: two functions have the same name.
        """
        for schema in services_in(symbols):
            self._server.add(schema)

    def add_service(
        self,
        func_ptr: Callable[..., Any],
        queue_size: int | None = None,
        fetch_size: int | None = None,
        timeout: float | None = None,
        re_register: bool = False,
    ) -> ServiceSchema:
        """Take up one function, decorated or not; on a server that serves already it starts at once.

        Args:
            func_ptr: the function; its ``__name__`` is the service's name.
            queue_size: as in ``register_call``.
            fetch_size: as in ``register_call``.
            timeout: as in ``register_call``, in seconds.
            re_register: as in ``register_call``.

        Raises:
            RegistrationError: the function or its limits cannot be used, or its name is taken.
        """
        options = Registration(queue_size, fetch_size, timeout, re_register=re_register)
        schema = ServiceSchema.of(func_ptr, options)
        self._server.add(schema)
        return schema

    def load_plugins(self, plugin_dir: Path | str) -> None:
        """Import every ``*.py`` of a folder, except names that begin with an underscore, and take up its services.

        A file that cannot be imported is logged with its traceback, the others are loaded.

        Args:
            plugin_dir: the folder.

        Raises:
            ConfigurationError: there is no such folder.
            RegistrationError: two functions have the same name.
        """
        from rabibridge_core.reload import PluginFolder

        folder = PluginFolder(Path(plugin_dir))
        for schema in folder.load():
            self._server.add(schema)
        self._folders.append(folder)

    async def connect(self) -> Self:
        """Connect and declare the queues of the services: calls made from then on wait in them.

        Release it with :meth:`close`, or use ``async with``. Without effect when connected.

        Raises:
            ConnectionLostError: no broker could be reached within ``connect_timeout``, or the server is closed.
            ConfigurationError: the broker refuses for good, a queue exists with other limits, or ``loop`` is not the
                running event loop.
        """
        self._check_loop()
        await self._server.connect()
        return self

    async def close(self) -> None:
        """Finish the calls in hand within ``drain_timeout``, give the others back, disconnect."""
        await self._server.close()

    def stop(self) -> None:
        """Make :meth:`run_serve` finish the calls in hand and return."""
        self._server.stop()

    async def run_serve(self, *, reload: bool = False) -> None:
        """Serve until stopped: by :meth:`stop`, :meth:`close`, or, on the main thread, SIGTERM or SIGINT.

        Args:
            reload: watch the folders of :meth:`load_plugins` and change the services in place when a file is changed,
                added or removed. A file that cannot be imported leaves its old services running.

        Raises:
            ConnectionLostError: the server is not connected.
            ConfigurationError: there is nothing to serve, or nothing to reload, or the broker refuses us for good.
        """
        if reload and not self._folders:
            raise ConfigurationError("run_serve(reload=True) watches plug-in folders: call load_plugins() before it")
        if not self._server.registry and not reload:
            raise ConfigurationError(
                "there is nothing to serve: call load_services(), add_service() or load_plugins() before run_serve()"
            )
        await serve_until_stopped(self._server, self._folders if reload else [])


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
