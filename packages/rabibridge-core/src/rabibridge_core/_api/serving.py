"""How a server serves: connecting, running, stopping, and changing its services meanwhile."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, Self

from rabibridge_core._api.base import RpcBase
from rabibridge_core._hosting.background_serving import BackgroundServing
from rabibridge_core._hosting.run import serve_until_stopped
from rabibridge_core._services.callables import place_of
from rabibridge_core._services.depends import Dependency
from rabibridge_core._services.injection import provider_of
from rabibridge_core._services.providers import key_of
from rabibridge_core.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from rabibridge_core._api.lifespan import Lifespan
    from rabibridge_core._hosting.plugin_folder import PluginFolder
    from rabibridge_core._server.process_scope import Overrides
    from rabibridge_core._server.server import Server
    from rabibridge_core._services.limits import FetchSize
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["ServingBase"]


class ServingBase(RpcBase):
    """What a server does with its connection and its services while it runs."""

    _server: Server
    _folders: list[PluginFolder]
    _overrides: Overrides
    _lifespan: Lifespan | None

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

    def serving(self, *, reload: bool = False, signals: bool = False) -> AbstractAsyncContextManager[Self]:
        """Serve in the background of a block: ``async with server.serving():``.

        The block begins when all services receive calls. It connects the server if it is not connected, and then
        disconnects it at the end. When the block is left, by whatever way, the server accepts no more calls, finishes
        those in flight within ``drain_timeout``, and returns the others to their queues; if the task is cancelled
        meanwhile, it returns them at once.

        If serving ends with an error, the block is cancelled, as :class:`asyncio.TaskGroup` does it, and the error is
        raised from the ``async with``; if the block raises another exception then, both are raised in an exception
        group. If the server is stopped (:meth:`stop`), the block goes on without it.

        The server may have no services yet: they may be added in the block, and removed. For a program that does
        nothing but serve, :meth:`run_serve` is shorter.

        Args:
            reload: as in :meth:`run_serve`.
            signals: let SIGTERM and SIGINT stop the server. By default they are left to the program: Ctrl-C then
                cancels the main task of :func:`asyncio.run`, which leaves the block.

        Returns:
            An async context manager for one block; it gives the server.

        Raises:
            ConnectionLostError: no broker could be reached, or the connection was given up.
            ConfigurationError: as in :meth:`connect` and :meth:`run_serve`, but there may be nothing to serve.
        """
        return BackgroundServing(
            self, lambda: self._server, lambda: self._run_serve(reload=reload, signals=signals, may_be_empty=True)
        )

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
        await self._run_serve(reload=reload, signals=signals, may_be_empty=False)

    async def _run_serve(self, *, reload: bool, signals: bool, may_be_empty: bool) -> None:
        self._home.check()
        if reload and not self._folders:
            raise ConfigurationError("run_serve(reload=True) watches plug-in folders: call load_plugins() before it")
        if reload and find_spec("watchfiles") is None:
            raise ConfigurationError(
                "run_serve(reload=True) needs the package watchfiles: install rabibridge-core[reload]"
            )
        if not (self._server.registry or reload or may_be_empty or self._lifespan):
            raise ConfigurationError(
                "there is nothing to serve: call load_services(), add_service() or load_plugins() before run_serve()"
            )
        await serve_until_stopped(self._server, self._folders if reload else [], signals=signals)

    @contextmanager
    def override(self, provider: Callable[..., Any], replacement: Callable[..., Any]) -> Iterator[None]:
        """Replace a provider in a block, as tests do: ``with server.override(session, fake_session):``.

        Args:
            provider: the function given to :func:`Depends`, or the lifespan of this server.
            replacement: what provides the value instead: a provider of any kind. It need not be of the same kind.

        Raises:
            RegistrationError: the replacement cannot be a provider.
            ConfigurationError: the server is serving, and what is replaced lives as long as that. Override it before.
        """
        key, what = key_of(provider), f"the replacement of {place_of(provider)}"
        process = self._server.process
        if provider is not self._lifespan:
            provider_of(Dependency(replacement, "call", True, 1.0), what)
        if process.has_entered(key) or (process.entered and provider is self._lifespan):
            raise ConfigurationError(f"{place_of(provider)} is in use: override it before the server serves")
        before = self._overrides.get(key)
        self._overrides[key] = replacement
        try:
            yield
        finally:
            if before is None:
                del self._overrides[key]
            else:
                self._overrides[key] = before

    async def wait_serving(self, *names: str) -> None:
        """Wait until services receive calls, for example one that :meth:`add_service` has just added.

        A server serves while :meth:`run_serve` runs; before that, and while there is no connection, this waits. Wrap it
        in ``asyncio.timeout`` to limit that.

        Args:
            *names: names of services. None: all services of this server.

        Raises:
            ConfigurationError: this server has no service of that name, or the broker refuses its queue. A service that
                was refused can be added again with other limits, or removed.
            Exception: what :meth:`run_serve` has raised, if that has ended so.
        """
        await self._server.wait_serving(names)

    async def remove_service(self, name: str, *, delete: Literal["if-unused"] | None = None) -> bool:
        """Stop a service and forget it. Other services are not affected, and a server may have none for a while.

        When this returns, no further call arrives here. Calls in flight finish within ``drain_timeout``: in the
        background, or, with ``delete``, before this returns.

        Args:
            name: the name of the service.
            delete: ``None``: the queue stays on the broker, and calls that wait in it are kept for other servers, or
                for this one if the service is added again. ``"if-unused"``: the queue is deleted after the calls in
                flight have finished, unless another worker serves it or a call waits in it; callers then get
                NoRouteError.

        Returns:
            Whether the queue stays on the broker.

        Raises:
            ConfigurationError: this server has no service of that name, or the broker refuses to delete its queue, or
                a call of this service awaits its deletion.
            ConnectionLostError: there is no connection to delete the queue on. The service is removed.
        """
        return await self._server.remove(name, delete=_deletes(delete))

    async def update_service(
        self,
        name: str,
        *,
        fetch_size: FetchSize | None = None,
        fetch_ahead: int | None = None,
        validate: bool | None = None,
        idempotent: bool | None = None,
        redelivery_limit: int | None = None,
        rate: str | float | None = None,
    ) -> ServiceSchema:
        """Change limits of a service that live on this worker, while it runs; no call is lost.

        When this returns, calls arrive with the new limits. Calls in flight finish as they began, and count against the
        new ``fetch_size``: if it is lower, no further call starts before as many have finished. Limits that live on the
        broker (``queue_size``, ``timeout``, ``queue_type``) are changed as docs/configuration.md describes.

        Args:
            name: the name of the service.
            fetch_size: as in ``register_call``; ``None``, here and below: as it is.
            fetch_ahead: as in ``register_call``.
            validate: as in ``register_call``.
            idempotent: as in ``register_call``.
            redelivery_limit: as in ``register_call``. That of a quorum queue is stored on the broker and cannot be
                changed here.
            rate: as in ``register_call``. A rate is that of all workers together, each of which takes its share of the
                one that it knows: change it on all of them. Saved tokens are kept, as far as the new rate allows them.

        Returns:
            The service with its new limits.

        Raises:
            ConfigurationError: this server has no service of that name, or the broker refuses.
            RegistrationError: a limit is out of range, or contradicts another one. Nothing is changed.
            ConnectionLostError: there is no connection, and none within ``connect_timeout``.
        """
        self._check_serving_here()
        return await self._server.update(
            name,
            lambda schema: schema.with_limits(
                fetch_size=fetch_size,
                fetch_ahead=fetch_ahead,
                validate=validate,
                idempotent=idempotent,
                redelivery_limit=redelivery_limit,
                rate=rate,
            ),
        )


def _deletes(delete: object) -> bool:
    if delete not in (None, "if-unused"):
        raise ConfigurationError(f"delete is {delete!r}; it must be 'if-unused', or None to keep the queue")
    return delete is not None
