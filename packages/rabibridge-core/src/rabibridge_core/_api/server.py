"""The server: offers functions to clients, over any transport."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from rabibridge_core._api.base import RpcBase
from rabibridge_core._hosting.run import serve_until_stopped
from rabibridge_core._observability.health import Health
from rabibridge_core._server.server import Server
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.marks import schema_of, services_in
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.plugins.call_hooks import CallHooks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import timedelta

    from rabibridge_core._hosting.plugin_folder import PluginFolder
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.transport import Delivery, QueueType

__all__ = ["RpcServer"]


class RpcServer(RpcBase):
    """Offers functions to clients.

    Every call runs in its own task (or thread, if the function is not async), at most ``fetch_size`` of a service at a
    time. A call is acknowledged after its reply was sent: if the process dies before that, another server gets the
    call. Functions registered with ``delivery="at-most-once"`` are acknowledged before they start.

    Example::

        server = RpcServer(url="memory://example")
        server.load_services(globals())
        async with server:
            await server.run_serve()
    """

    def _make_engine(self) -> Server:
        before: Server | None = getattr(self, "_server", None)
        if before is None:
            self._folders: list[PluginFolder] = []
        self._server = Server(
            self._transport,
            self._codec,
            hooks=CallHooks(),
            drain_timeout=self.settings.drain_timeout,
            name=self.name,
            queue_type=self.settings.queue_type,
            registry=before.registry if before is not None else None,  # the services stay when it connects anew
        )
        return self._server

    @property
    def services(self) -> tuple[ServiceSchema, ...]:
        """The services of this server."""
        return tuple(self._server.registry)

    def health(self) -> Health:
        """Report whether calls of all services are accepted now; if not, the reasons say why.

        It is true only while :meth:`run_serve` runs, the connection is up, every service accepts calls, and every file
        of the plug-in folders could be imported: one that could not leaves its previous services running, and the
        reason names it. It sends nothing and costs next to nothing, which makes it suitable for the health check of an
        orchestrator.
        """
        health = self._health(self._server.health)
        problems = [problem for folder in self._folders for problem in folder.problems()]
        return Health(False, health.state, (*health.reasons, *problems)) if problems else health

    def load_services(self, symbols: Mapping[str, object]) -> None:
        """Add every function of the mapping that is decorated with ``@register_call``, including imported ones.

        Args:
            symbols: names and objects, such as ``globals()``. Lazy objects among them are not woken.

        Raises:
            RegistrationError: two functions have the same name, or a decorated one is a method without its object. No
                service is added then.
        """
        self._check_serving_here()
        services = services_in(symbols)
        self._server.registry.check(services)
        for schema in services:
            self._server.add(schema)

    def add_service(
        self,
        func_ptr: Callable[..., Any],
        queue_size: int | None = None,
        fetch_size: int | None = None,
        timeout: float | timedelta | None = None,
        re_register: bool = False,
        *,
        name: str | None = None,
        validate: bool = False,
        delivery: Delivery | None = None,
        idempotent: bool = False,
        redelivery_limit: int | None = None,
        queue_type: QueueType | None = None,
        fetch_ahead: int | None = None,
    ) -> ServiceSchema:
        """Add one function, decorated or not. On a server that is already serving, it starts immediately.

        It starts in the background: await :meth:`wait_serving` to know when it receives calls, or why it does not. If
        this method raises, nothing was added.

        Limits that are not given (``None`` or ``False``) are taken from the function's ``@register_call``, if any.

        Args:
            func_ptr: the function, the bound method, the ``functools.partial`` or the callable object.
            queue_size: as in ``register_call``.
            fetch_size: as in ``register_call``.
            timeout: as in ``register_call``, in seconds.
            re_register: as in ``register_call``.
            name: the name of the service. ``None``: the one given to its ``@register_call``, else the function's
                ``__name__``. One function may be added under several names.
            validate: as in ``register_call``.
            delivery: as in ``register_call``.
            idempotent: as in ``register_call``.
            redelivery_limit: as in ``register_call``.
            queue_type: as in ``register_call``; ``None``: what its ``@register_call`` says, else what the setting
                ``queue_type`` does.
            fetch_ahead: as in ``register_call``.

        Raises:
            RegistrationError: the function or its limits cannot be used, or its name is taken.
            ConfigurationError: the server is serving, on another event loop than the caller.
        """
        self._check_serving_here()
        given = ServiceLimits(
            queue_size, fetch_size, timeout, validate, re_register, delivery, idempotent, redelivery_limit, queue_type,
            fetch_ahead,
        )  # fmt: skip
        return self._server.add(schema_of(func_ptr, given, name))

    async def remove_service(self, name: str) -> None:
        """Stop a service and forget it. Other services are not affected.

        Calls in flight finish within ``drain_timeout``, in the background; when this returns, no further call arrives.
        The queue stays on the broker, and calls that wait in it are kept for other servers, or for this one if the
        service is added again.

        Args:
            name: the name of the service.

        Raises:
            ConfigurationError: this server has no service of that name.
        """
        await self._server.remove(name)

    async def wait_serving(self, *names: str) -> None:
        """Wait until services receive calls, for example one that :meth:`add_service` has just added.

        A server serves while :meth:`run_serve` runs; before that, and while there is no connection, this waits. Wrap it
        in ``asyncio.timeout`` to limit that.

        Args:
            *names: names of services. None: all services of this server.

        Raises:
            ConfigurationError: this server has no service of that name, or the broker refuses its queue. A service that
                was refused can be added again with other limits, or removed.
        """
        await self._server.wait_serving(names)

    def load_plugins(self, plugin_dir: Path | str) -> None:
        """Import the Python files and packages of a folder, and add their services.

        Names that begin with an underscore (helpers) or a dot are left out. The folder is loaded as a package, so that
        relative imports and pickle work, and its files find each other first: docs/plugins.md has the rules. A file
        that cannot be imported is logged with its traceback, and :meth:`health` names it; the others are loaded.

        Args:
            plugin_dir: the folder.

        Raises:
            ConfigurationError: the folder does not exist.
            RegistrationError: two functions have the same name. No service of the folder is added then.
        """
        from rabibridge_core._hosting.plugin_folder import PluginFolder

        self._check_serving_here()
        folder = PluginFolder(Path(plugin_dir))
        services = folder.load()
        self._server.registry.check(services)
        for schema in services:
            self._server.add(schema)
        self._folders.append(folder)

    async def connect(self) -> Self:
        """Connect and declare the queues of the services, so that calls made from now on wait in them.

        Call :meth:`close` afterwards, or use ``async with``. No effect when connected.

        Raises:
            ConnectionLostError: no broker could be reached within ``connect_timeout``, or the server was closed
                meanwhile.
            ConfigurationError: the broker refuses permanently, a queue exists with other limits, the server is
                connected on another event loop, or no asyncio event loop runs here.
        """
        return await super().connect()

    async def close(self) -> None:
        """Finish the calls in flight within ``drain_timeout``, return the others to their queues, and disconnect.

        The server may be connected again afterwards, with the same services.

        Raises:
            ConfigurationError: the server is connected on another event loop, which is not closed.
        """
        await super().close()

    def stop(self) -> None:
        """Make :meth:`run_serve` finish the calls in flight and return. It may be called from any thread."""
        loop = self._home.loop
        if loop is None or self._home.is_here:
            self._server.stop()
        elif not self._home.gone:
            loop.call_soon_threadsafe(self._server.stop)

    def _check_serving_here(self) -> None:
        if self._server.services.serving:
            self._home.check()

    async def run_serve(self, *, reload: bool = False, signals: bool = True) -> None:
        """Serve until stopped: by :meth:`stop`, :meth:`close`, or, on the main thread, SIGTERM or SIGINT.

        Args:
            reload: watch the folders given to :meth:`load_plugins`, and change the services in place when a file is
                changed, added or removed. A file that cannot be imported leaves its old services running.
            signals: let SIGTERM and SIGINT stop the server if it runs on the main thread. ``False``: leave signals to
                the surrounding program, which then calls :meth:`stop`.

        Raises:
            ConnectionLostError: the server is not connected.
            ConfigurationError: there is nothing to serve, or nothing to reload, or ``reload`` is asked for without the
                package watchfiles, or the broker refuses permanently, or the server is connected on another event loop.
        """
        self._home.check()
        if reload and not self._folders:
            raise ConfigurationError("run_serve(reload=True) watches plug-in folders: call load_plugins() before it")
        if reload and find_spec("watchfiles") is None:
            raise ConfigurationError(
                "run_serve(reload=True) needs the package watchfiles: install rabibridge-core[reload]"
            )
        if not self._server.registry and not reload:
            raise ConfigurationError(
                "there is nothing to serve: call load_services(), add_service() or load_plugins() before run_serve()"
            )
        await serve_until_stopped(self._server, self._folders if reload else [], signals=signals)
