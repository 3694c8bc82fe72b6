"""The server: offers functions to clients, over any transport."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload
from weakref import ref

from rabibridge_core._api.lifespan import check_lifespan, entered_with
from rabibridge_core._api.observers import observed_in_children
from rabibridge_core._api.running import RunningBase
from rabibridge_core._observability.health import Health
from rabibridge_core._server.process_scope import Overrides, ProcessScope
from rabibridge_core._server.server import Server
from rabibridge_core._services.access import check_policy
from rabibridge_core._services.auto import as_fetch_size
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.offers import schemas_of, service_object, services_among

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from contextlib import AbstractAsyncContextManager
    from datetime import timedelta

    from rabibridge_core._api.base import RpcOptions
    from rabibridge_core._api.lifespan import Lifespan
    from rabibridge_core._hosting.plugin_folder import PluginFolder
    from rabibridge_core._protocol.remote_errors import RemoteTraceback
    from rabibridge_core._services.access import Policy
    from rabibridge_core._services.limit_arguments import LimitArguments
    from rabibridge_core._services.limits import FetchSize, HandlerPlace
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.errors import ServiceError
    from rabibridge_core.transport import Delivery, QueueType

__all__ = ["RpcServer"]


class RpcServer(RunningBase):
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

    _policy: Policy | None = None

    def __init__(
        self, *, lifespan: Lifespan | None = None, policy: Policy | None = None, **options: Unpack[RpcOptions]
    ) -> None:
        """Collect the settings.

        Args:
            lifespan: what surrounds serving: a function that takes the server and returns an async context manager, as
                ``contextlib.asynccontextmanager`` makes it, or an async generator function. It is entered before the
                first call is taken, and left after the last one was answered; an error that it raises ends serving.
                What it yields, one object or a tuple of several, goes to parameters that :func:`Depends` marks.
            policy: decides which calls are admitted, in addition to ``allow=`` of the services: a function, async or
                not, that takes the name of the service, the user of the caller (empty: not known) and the headers of
                the call. Unless it returns ``True``, the caller gets AccessDeniedError before its arguments are looked
                at; so it does if the policy raises, which is logged. ``None``: no policy.
            **options: the arguments of :class:`RpcBase`.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        self._lifespan = check_lifespan(lifespan)
        if policy is not None:
            self._policy = check_policy(policy)
        try:
            super().__init__(**options)
        except BaseException:
            del options  # the error carries this frame, whose variables may be reported
            raise

    def _make_engine(self) -> Server:
        before: Server | None = getattr(self, "_server", None)
        if before is None:
            self._folders: list[PluginFolder] = []
            self._overrides = Overrides()
        self._server = Server(
            self._transport,
            self._codec,
            hooks=self._observers("server"),
            drain_timeout=self.settings.drain_timeout,
            name=self.name,
            queue_type=self.settings.queue_type,
            run_timeout=self.settings.run_timeout,
            slow_call=self.settings.slow_call,
            deadline_admission=self.settings.deadline_admission,
            remote_traceback=self.settings.remote_traceback,
            control=self.settings.control,
            registry=before.registry if before is not None else None,  # the services stay when it connects anew
            policy=self._policy,
            process=ProcessScope(  # no cycle: it must hear of its end
                partial(_entered, ref(self)), self._overrides, observed_in_children(self.settings)
            ),
        )
        self._server.report.rules = self._rules
        self._server.services.fetch_size = as_fetch_size(self.settings.fetch_size)
        return self._server

    @property
    def services(self) -> tuple[ServiceSchema, ...]:
        """The services of this server."""
        return tuple(self._server.registry)

    def health(self) -> Health:
        """Report whether calls of all services are accepted now; if not, the reasons say why.

        It is true only while :meth:`run_serve` runs, the connection is up, every service accepts calls, and every file
        of the plug-in folders could be imported: one that could not leaves its previous services running, and the
        reason names it. It stays true while the broker takes no messages, as in an alarm: the replies wait then, and a
        reason says so. It sends nothing and costs next to nothing, which makes it suitable for the health check of an
        orchestrator.
        """
        health = self._health(self._server.health)
        problems = [problem for folder in self._folders for problem in folder.problems()]
        return Health(False, health.state, (*health.reasons, *problems)) if problems else health

    def load_services(self, symbols: Mapping[str, object]) -> None:
        """Add what the mapping has to serve: each function with ``@register_call``, and each object of a service class.

        Imported ones are added, too.

        Args:
            symbols: names and objects, such as ``globals()``. Lazy objects among them are not woken.

        Raises:
            RegistrationError: two functions have the same name, or a decorated one is a method without its object. No
                service is added then.
        """
        self._check_serving_here()
        services = services_among(symbols)
        self._server.registry.check(services)
        for schema in services:
            self._server.add(schema)

    @overload
    def add_service(  # type: ignore[overload-overlap] # an object of a service class is not callable, as a rule
        self,
        func_ptr: Callable[..., Any],
        queue_size: int | None = None,
        fetch_size: FetchSize | None = None,
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
        raises: tuple[type[ServiceError], ...] = (),
        classes: Mapping[str, int | None] | None = None,
        resumable: bool = False,
        executor: HandlerPlace | None = None,
        max_calls_per_child: int | None = None,
        run_timeout: float | timedelta | None = None,
        remote_traceback: RemoteTraceback | None = None,
        fair: bool = False,
        allow: Collection[str] | None = None,
        slow_call: float | timedelta | None = None,
        deadline_admission: bool | None = None,
        max_wait: float | timedelta | None = None,
        rate: str | float | None = None,
    ) -> ServiceSchema: ...
    @overload
    def add_service(
        self, func_ptr: object, /, *, name: str | None = None, **limits: Unpack[LimitArguments]
    ) -> tuple[ServiceSchema, ...]: ...
    def add_service(
        self,
        func_ptr: Any,
        queue_size: int | None = None,
        fetch_size: FetchSize | None = None,
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
        raises: tuple[type[ServiceError], ...] = (),
        classes: Mapping[str, int | None] | None = None,
        resumable: bool = False,
        executor: HandlerPlace | None = None,
        max_calls_per_child: int | None = None,
        run_timeout: float | timedelta | None = None,
        remote_traceback: RemoteTraceback | None = None,
        fair: bool = False,
        allow: Collection[str] | None = None,
        slow_call: float | timedelta | None = None,
        deadline_admission: bool | None = None,
        max_wait: float | timedelta | None = None,
        rate: str | float | None = None,
    ) -> ServiceSchema | tuple[ServiceSchema, ...]:
        """Add one function, decorated or not, or all methods of an object whose class is decorated with ``@service``.

        On a server that is already serving, it starts immediately.

        It starts in the background: await :meth:`wait_serving` to know when it receives calls, or why it does not. If
        this method raises, nothing was added.

        Limits that are not given (``None`` or ``False``) are taken from the function's ``@register_call``, if any, and
        from the ``@service`` of its class.

        Args:
            func_ptr: the function, the bound method, the ``functools.partial`` or the callable object; or an object of
                a service class.
            queue_size: as in ``register_call``.
            fetch_size: as in ``register_call``.
            timeout: as in ``register_call``, in seconds.
            re_register: as in ``register_call``.
            name: the name of the service. ``None``: the one given to its ``@register_call``, else the function's
                ``__name__``. One function may be added under several names. For an object of a service class: what
                stands in front of the names of the methods; ``None``: what its ``@service`` says.
            validate: as in ``register_call``.
            delivery: as in ``register_call``.
            idempotent: as in ``register_call``.
            redelivery_limit: as in ``register_call``.
            queue_type: as in ``register_call``; ``None``: what its ``@register_call`` says, else what the setting
                ``queue_type`` does.
            fetch_ahead: as in ``register_call``.
            raises: as in ``register_call``; ``()``: what its ``@register_call`` says.
            classes: as in ``register_call``; ``None``: what its ``@register_call`` says, unless ``queue_size`` is
                given.
            resumable: as in ``register_call``.
            executor: as in ``register_call``; ``None``: what its ``@register_call`` says.
            max_calls_per_child: as in ``register_call``.
            run_timeout: as in ``register_call``.
            remote_traceback: as in ``register_call``.
            fair: as in ``register_call``.
            allow: as in ``register_call``; ``None``: what its ``@register_call`` says.
            slow_call: as in ``register_call``.
            deadline_admission: as in ``register_call``.
            max_wait: as in ``register_call``.
            rate: as in ``register_call``.

        Returns:
            The service that was added; of an object, a tuple of them.

        Raises:
            RegistrationError: the function or its limits cannot be used, or its name is taken.
            ConfigurationError: the server is serving, on another event loop than the caller.
        """
        self._check_serving_here()
        given = ServiceLimits(
            queue_size, fetch_size, timeout, validate, re_register, delivery, idempotent, redelivery_limit, queue_type,
            fetch_ahead, raises, classes, resumable, executor, max_calls_per_child, run_timeout, remote_traceback, fair,
            allow, slow_call, deadline_admission, max_wait, rate,
        )  # fmt: skip
        schemas = schemas_of(func_ptr, given, name)
        self._server.registry.check(schemas)
        schemas = tuple(map(self._server.services.checked, schemas))  # all, before the first one is added
        added = tuple(map(self._server.add, schemas))
        return added[0] if service_object(func_ptr) is None else added

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


def _entered(server: ref[RpcServer], overrides: Overrides) -> AbstractAsyncContextManager[object]:
    owner = server()
    assert owner is not None  # it is running
    return entered_with(owner, owner._lifespan, overrides)
