"""The server engine: which services run, from connect() to the last reply."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rabibridge_core._observability.call_context import current_call_var
from rabibridge_core._observability.health import Health
from rabibridge_core._observability.loop_monitor import LoopMonitor
from rabibridge_core._server.executors import validator
from rabibridge_core._server.service import ServiceRunner
from rabibridge_core._services.registry import Registry
from rabibridge_core.errors import ConfigurationError, ConnectionLostError, RabiBridgeError
from rabibridge_core.transport import ConnectionState

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._observability.call_context import CurrentCall
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.plugins.call_hooks import CallHooks
    from rabibridge_core.transport import QueueType, Transport

__all__ = ["Server"]

_log = logging.getLogger(__name__)


class Server:
    """Runs services over a transport.

    Unless a service says otherwise, a request is acknowledged after its reply was sent: a worker that dies in between
    loses nothing, the broker gives the request to another one (at least once).
    """

    def __init__(
        self,
        transport: Transport,
        codec: Codec,
        *,
        hooks: CallHooks,
        drain_timeout: float,
        name: str,
        queue_type: QueueType = "classic",
    ) -> None:
        """Own ``transport``: it is connected and closed with this server.

        Args:
            transport: where requests come from.
            codec: how arguments and results become bytes.
            hooks: what to tell of each request.
            drain_timeout: how long calls in hand may take to finish when the server stops, in seconds.
            name: how this server calls itself in logs.
            queue_type: the type of the queues of services that do not name theirs.
        """
        self.transport = transport
        self.name = name
        self.registry = Registry()
        self.drain_timeout = drain_timeout
        self.queue_type: QueueType = queue_type
        self._codec = codec
        self._hooks = hooks
        self._services: dict[str, ServiceRunner] = {}
        self._failed: dict[str, RabiBridgeError] = {}
        self._changing = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()
        self._draining: set[asyncio.Task[None]] = set()
        self._changes: set[asyncio.Task[Any]] = set()
        self._stopping = asyncio.Event()
        self._connected = False
        self._ending: list[ServiceRunner] = []
        self._serving = False
        self._running = False
        self._closed = False
        self._closing: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        """Show the state and the services."""
        services = ", ".join(schema.name for schema in self.registry)
        return f"<{type(self).__name__} {self.name!r} {self.transport.state.value}, services: {services or 'none'}>"

    @property
    def in_hand(self) -> int:
        """How many calls are being answered."""
        return sum(service.in_hand for service in self._services.values())

    @property
    def services(self) -> Mapping[str, ServiceRunner]:
        """The services that run, by name."""
        return self._services

    def health(self) -> Health:
        """Tell whether it takes calls for every one of its services now, and if not, why."""
        state = self.transport.state
        reasons: list[str] = []
        if state is not ConnectionState.READY:
            error = self.transport.last_error
            reasons.append(f"the connection is {state.value}" + (f": {error}" if error else ""))
        if self._closed or self._stopping.is_set():
            reasons.append(f"{self.name} is stopping or closed")
        elif not self._serving:
            reasons.append(f"{self.name} does not serve: run_serve() does not run")
        elif state is ConnectionState.READY:
            reasons += [reason for schema in self.registry if (reason := self._why_not_served(schema.name))]
        return Health(not reasons, state, tuple(reasons))

    def _why_not_served(self, name: str) -> str:
        service = self._services.get(name)
        if service is not None and service.live:
            return ""
        error = service.consumer.error if service is not None and service.consumer is not None else None
        error = error or self._failed.get(name)
        return f"service {name!r} takes no calls: {error or 'it is being started, or its queue declared anew'}"

    def service_of(self, task: asyncio.Task[Any]) -> str | None:
        """Return the name of the service whose handler a task runs, if any; may be asked from any thread."""
        context = getattr(task, "get_context", None)  # from Python 3.12 on; it knows tasks that a handler began, too
        call: CurrentCall | None = context().get(current_call_var) if context is not None else None
        if call is not None:
            return call.service
        return next((name for name, service in list(self._services.items()) if service.runs(task)), None)

    def add(self, schema: ServiceSchema) -> ServiceSchema:
        """Add a service; on a server that serves already it starts in the background.

        Returns:
            The service as it is offered: with the server's queue type where it names none.

        Raises:
            RegistrationError: another function has that name, or its arguments cannot be validated as it asks for.
        """
        if schema.validate:
            validator(schema)  # here, before callers can reach its queue
        known = schema.name in self.registry
        schema = self._complete(schema)
        self.registry.add(schema)
        if not known and self._serving:
            self._spawn(self.change([], [schema]), self._background)
        return schema

    def _complete(self, schema: ServiceSchema) -> ServiceSchema:
        return schema if schema.queue_type else replace(schema, queue_type=self.queue_type)

    async def connect(self) -> None:
        """Connect and declare the queues, so that calls made from now on wait in them; without effect when connected.

        Raises:
            ConnectionLostError: no broker could be reached, or the server was closed before.
            ConfigurationError: the broker refuses this server or one of its queues. The server is closed then.
        """
        if self._closed:
            raise ConnectionLostError(f"{self.name} is closed: make a new server to serve again", executed=False)
        async with self._changing:
            if self._connected:
                return
            await self.transport.connect()
            refused = [error for schema in self.registry if (error := await self._declare(schema)) is not None]
            if refused:
                await self.transport.close()
                for other in refused[1:]:
                    refused[0].add_note(f"And another: {other}")
                raise refused[0]
            self._connected = True

    async def _declare(self, schema: ServiceSchema) -> ConfigurationError | None:
        try:
            await self.transport.declare(schema.queue)
        except ConfigurationError as error:
            return error
        return None

    async def start(self) -> None:
        """Take requests from now on; without effect when started.

        Raises:
            ConnectionLostError: the server is not connected.
            ConfigurationError: the broker refuses a queue.
        """
        if not self._connected or self._closed:
            raise ConnectionLostError(
                f"{self.name} is not connected: await its connect(), or use it as 'async with', before run_serve()",
                executed=False,
            )
        if self._serving:
            return
        self._serving = True
        async with self._changing:
            for schema in self.registry:
                await self._put(schema)

    async def run(self) -> None:
        """Start, and return once :meth:`stop` was called and the calls in hand are done.

        Raises:
            RabiBridgeError: the transport closed for another reason than our own :meth:`close`, or it runs already.
        """
        if self._running:
            raise ConfigurationError(f"{self.name} runs already: one run_serve() at a time serves all of its services")
        self._running = True
        try:
            await self._run()
        finally:
            self._running = False
            if not self._closed:
                self._stopping.clear()

    async def _run(self) -> None:
        starting = asyncio.ensure_future(self.start())
        closed = asyncio.ensure_future(self.transport.wait_closed())
        stopping = asyncio.ensure_future(self._stopping.wait())
        watch = LoopMonitor(self.service_of)
        watch.start()
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                names = ", ".join(schema.name for schema in self.registry)
                _log.info("%s serves %s", self.name, names or "nothing yet")
                await asyncio.wait((closed, stopping), return_when=asyncio.FIRST_COMPLETED)
            if closed.done():
                closed.result()
        finally:
            for task in (starting, closed, stopping):
                task.cancel()
            await asyncio.gather(starting, closed, stopping, return_exceptions=True)
            try:
                await self._drain()
            finally:
                watch.stop()

    def stop(self) -> None:
        """Make :meth:`run` finish what is in hand and return. Called again, what is in hand goes back at once."""
        if self._stopping.is_set():
            for service in self._ending:
                service.hurry()
        self._stopping.set()

    async def change(self, removed: Iterable[str], schemas: Iterable[ServiceSchema]) -> None:
        """Change the running services in place: calls in hand finish, other services do not notice.

        A service whose limits stay gets its new function from the next call on. One that cannot be changed keeps
        running as it was where that is possible; that is logged, the others are changed.

        Args:
            removed: names of services to stop; their queues stay.
            schemas: services to add or to change.
        """
        change = asyncio.current_task()
        assert change is not None
        self._changes.add(change)
        try:
            async with self._changing:
                for name in removed:
                    self.registry.remove(name)
                    self._failed.pop(name, None)
                    await self._drop(name)
                for schema in schemas:
                    try:
                        await self._put(self._complete(schema))
                    except RabiBridgeError as error:
                        self._failed[schema.name] = error
                        _log.error("service %r could not be started: %s", schema.name, error)
        finally:
            self._changes.discard(change)

    async def _put(self, schema: ServiceSchema) -> None:
        self._failed.pop(schema.name, None)
        running = self._services.get(schema.name)
        if running is not None and running.schema.queue == schema.queue and running.live:
            running.swap(schema)
            self.registry.replace(schema)
            return
        if running is not None:
            try:
                await self.transport.declare(replace(schema.queue, redeclare=False))
            except ConfigurationError:
                if not schema.re_register:
                    raise  # the running one goes on as it is
            await self._drop(schema.name)
        service = ServiceRunner(schema, self._codec, self._hooks)
        self.registry.replace(schema)
        self._services[schema.name] = service  # before it starts: whoever stops the server meanwhile finds its calls
        try:
            await service.start(self.transport)
        except Exception:
            del self._services[schema.name]
            raise

    async def _drop(self, name: str) -> None:
        """Take no more calls of a service; those in hand finish while other services change."""
        service = self._services.pop(name, None)
        if service is not None:
            await service.halt()
            self._spawn(service.stop(self.drain_timeout), self._draining)

    async def _drain(self) -> None:
        self._serving = False
        for change in self._changes:
            change.cancel()  # it may wait for a connection, and must not keep us
        async with self._changing:
            services, self._services = list(self._services.values()), {}
            self._ending = services
            await asyncio.gather(*(service.stop(self.drain_timeout) for service in services), *self._draining)

    async def close(self) -> None:
        """Finish the calls in hand, give back the rest, disconnect; without effect when closed.

        It goes on to its end whoever stops waiting for it.
        """
        if self._closing is None:
            self._closed = True
            self._closing = asyncio.get_running_loop().create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        self._stopping.set()
        try:
            await self._drain()
        finally:
            await self.transport.close()

    def _spawn(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
