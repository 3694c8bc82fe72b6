"""The server engine: connects, runs its services until it is stopped, drains, and closes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._concurrency.background import CloseOnce
from rabibridge_core._observability.call_context import CurrentCall, current_call_var
from rabibridge_core._observability.health import Health
from rabibridge_core._observability.loop_monitor import LoopMonitor
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger, warn_on_stderr
from rabibridge_core._server.control import ControlResponder, answer_control
from rabibridge_core._server.exceptions import InterruptedStartError, ProviderFailedError
from rabibridge_core._server.process_scope import ProcessScope
from rabibridge_core._server.server_metrics import measure_server, stop_measuring
from rabibridge_core._server.service_set import ServiceSet
from rabibridge_core._server.side_by_side import mendable, together
from rabibridge_core._server.worker_status import WorkerReport
from rabibridge_core.errors import ConfigurationError, ConnectionLostError
from rabibridge_core.transport import ConnectionState, obstacles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._protocol.remote_errors import RemoteTraceback
    from rabibridge_core._services.access import Policy
    from rabibridge_core._services.registry import Registry
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.plugins.call_hooks import CallHooks
    from rabibridge_core.transport import QueueType, Transport

__all__ = ["Server"]

_log = get_logger(__name__)


class Server:
    """Runs services over a transport.

    Unless a service is at-most-once, a request is acknowledged after its reply was sent: if the worker dies before,
    the broker delivers the request to another one (at least once).
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
        run_timeout: float | None = None,
        slow_call: float | None = None,
        deadline_admission: bool = True,
        remote_traceback: RemoteTraceback = "full",
        registry: Registry | None = None,
        process: ProcessScope | None = None,
        control: bool = True,
        policy: Policy | None = None,
    ) -> None:
        """Own ``transport``: it is connected and closed together with this server.

        Args:
            transport: where requests come from.
            codec: decodes arguments and encodes results.
            hooks: called for each request.
            drain_timeout: how long active requests may take to finish when the server stops, in seconds.
            name: the name of this server in logs and errors.
            queue_type: the queue type of services that do not choose one.
            run_timeout: how long their calls may run, in seconds; ``None``: no limit.
            slow_call: after how many seconds the stacks of their calls are logged; ``None``: never.
            deadline_admission: whether they refuse calls that cannot end in their time.
            remote_traceback: what their callers are told of exceptions.
            registry: services that are registered already; ``None``: none.
            process: the lifespan, and what overrides providers; ``None``: neither.
            control: whether it answers control requests, if the transport can receive them.
            policy: decides which calls are admitted; ``None``: nothing but the services themselves.
        """
        self.transport, self.name, self._control = transport, name, control
        self.process = ProcessScope() if process is None else process
        self.services = ServiceSet(
            transport, codec, hooks,
            drain_timeout=drain_timeout, queue_type=queue_type, run_timeout=run_timeout, slow_call=slow_call,
            deadline_admission=deadline_admission, remote_traceback=remote_traceback, name=name, registry=registry,
            process=self.process, policy=policy,
        )  # fmt: skip
        warn_on_stderr()
        self._responder: ControlResponder | None = None
        self.report = WorkerReport(name, self.services, self.health, lambda: self.stopping)
        self._connected = self._running = False
        self._started, self._stop_requested = asyncio.Event(), asyncio.Event()
        self._close_once, self._measured = CloseOnce(), measure_server(transport, self.services, self.report)

    def __repr__(self) -> str:
        """Show the state and the services."""
        services = ", ".join(schema.name for schema in self.registry)
        return f"<{type(self).__name__} {self.name!r} {self.transport.state.value}, services: {services or 'none'}>"

    @property
    def registry(self) -> Registry:
        """The registered services."""
        return self.services.registry

    @property
    def connected(self) -> bool:
        """Whether it is connected, and not being closed; a connection that is lost at the moment counts."""
        return self._connected and not self._close_once.started

    @property
    def stopping(self) -> bool:
        """Whether :meth:`stop` was called, or :meth:`close`, and :meth:`run` has not returned yet."""
        return self._stop_requested.is_set()

    @property
    def active_requests(self) -> int:
        """Number of requests that are processed or queued in this worker."""
        return self.services.active_requests

    def add(self, schema: ServiceSchema) -> ServiceSchema:
        """Add a service; see :meth:`ServiceSet.add`."""
        return self.services.add(schema)

    async def change(self, removed: Iterable[str], schemas: Iterable[ServiceSchema]) -> None:
        """Remove, add and change services while they run; see :meth:`ServiceSet.change`."""
        await self.services.change(removed, schemas)

    def health(self) -> Health:
        """Tell whether every service receives calls now, and if not, why. Blocked replies are a reason, no failure."""
        state = self.transport.state
        reasons: list[str] = []
        if state is not ConnectionState.READY:
            error = self.transport.last_error
            reasons.append(f"the connection is {state.value}" + (f": {error}" if error else ""))
        if self._close_once.started or self._stop_requested.is_set():
            reasons.append(f"{self.name} is stopping or closed")
        elif not self.services.serving:
            reasons.append(f"{self.name} is not serving: run_serve() is not running")
        elif state is ConnectionState.READY:
            reasons += self.services.problems()
        return Health(not reasons, state, (*reasons, *obstacles(self.transport)))

    async def connect(self) -> None:
        """Connect and declare the queues, where calls then wait until the services start. No effect when connected.

        Raises:
            ConnectionLostError: no broker could be reached, or the server is closed.
            ConfigurationError: the broker refuses this server or one of its queues. The transport is closed then.
        """
        if self._close_once.started:
            raise ConnectionLostError(f"{self.name} is closed: await its connect() to serve again", executed=False)
        async with self.services.lock:  # close() waits for it
            if self._connected:
                return
            await self.transport.connect()
            refused = await self.services.declare()
            if refused:
                await self.transport.close()
                raise mendable(together(refused))
            if self._control and self._responder is None:
                self._responder = await answer_control(self.name, self.report, self.transport)
            self._connected = True

    async def start(self) -> None:
        """Start to receive requests; without effect when started.

        Raises:
            ConnectionLostError: the server is not connected.
            ConfigurationError: the broker refuses a queue.
        """
        self._check_connected()
        try:
            await self.services.start()
        except ProviderFailedError:
            raise  # its cause is in code of the user
        except ConfigurationError as error:
            raise mendable(error) from None

    def _check_connected(self) -> None:
        if not self.connected:
            raise ConnectionLostError(
                f"{self.name} is not connected: await connect(), or use 'async with', before run_serve()",
                executed=False,
            )

    async def remove(self, name: str, *, delete: bool = False) -> bool:
        """Stop and forget a service; see :meth:`ServiceSet.remove`.

        Raises:
            ConfigurationError: it would wait for the call that it is called by.
        """
        call, runner = current_call_var.get(), self.services.runners.get(name)
        if delete and isinstance(call, CurrentCall) and runner is not None and runner.runs(call):
            raise ConfigurationError(
                f"a call of {name!r} removes that service and its queue, which waits for the call: leave delete= out, "
                "or remove it from elsewhere"
            )
        return await self.services.remove(name, delete=delete)

    async def update(self, name: str, change: Callable[[ServiceSchema], ServiceSchema]) -> ServiceSchema:
        """Change limits of a service that live on this worker; see :meth:`ServiceSet.update`."""
        return await self.services.update(name, change)

    async def wait_serving(self, names: Sequence[str]) -> None:
        """Wait until these services, or all if none is named, receive calls; see :meth:`ServiceSet.wait_serving`."""
        await self.services.wait_serving(names or [schema.name for schema in self.registry])

    async def wait_started(self) -> None:
        """Wait until :meth:`run` has started, and every service that it has started receives calls.

        Raises:
            ConfigurationError: the broker refuses a service that was added meanwhile.
        """
        await self._started.wait()
        await self.services.wait_started()

    async def run(self) -> None:
        """Start, and return after :meth:`stop` was called and the active requests are finished or requeued.

        Raises:
            ConfigurationError: the server is running already.
            ConnectionLostError: it is not connected.
            RabiBridgeError: the transport was closed for another reason than :meth:`close`.
        """
        if self._running:
            raise ConfigurationError(f"{self.name} is already running: one run_serve() serves all of its services")
        self._check_connected()
        self._running = True
        try:
            if not self._stop_requested.is_set():
                async with self.services.running(), self.process:
                    await self._run()
        except InterruptedStartError:
            extra = log_fields("server.stopped_early", instance=self.name)
            _log.info("%s was stopped before it had started", self.name, extra=extra)
        finally:
            self._running = False
            self._started.clear()
            if not self._close_once.started:
                self._stop_requested.clear()

    async def _run(self) -> None:
        starting = asyncio.ensure_future(self.start())
        closed = asyncio.ensure_future(self.transport.wait_closed())
        stopping = asyncio.ensure_future(self._stop_requested.wait())
        monitor = self.report.monitor = LoopMonitor(self.services.service_of)
        monitor.start()
        try:
            await self.process.attend((starting, stopping))
            if starting.done():
                starting.result()
                self._started.set()
                self.services.log_serving(self.name)
                await self.process.attend((closed, stopping))
            if closed.done():
                closed.result()
        finally:
            for task in (starting, closed, stopping):
                task.cancel()
            await asyncio.gather(starting, closed, stopping, return_exceptions=True)
            try:
                await self.services.stop()
            finally:
                monitor.stop()

    def stop(self) -> None:
        """Make :meth:`run` finish the active requests and return. A second call requeues the active ones at once."""
        again = self._stop_requested.is_set()
        if again:
            self.services.abort_drain()
        if again or not self.process.leaving:
            self.process.interrupt()
        self._stop_requested.set()

    async def close(self) -> None:
        """Finish the active requests, requeue the rest, and disconnect; without effect when closed.

        Closing continues if the caller of this method is cancelled.

        Raises:
            ConfigurationError: it is called in a call that this server processes, for which it would wait: by the
                handler, or by a task or thread that is part of the call.
        """
        self.services.check_is_no_caller(self.name)
        await self._close_once(self._close)

    async def _close(self) -> None:
        self._stop_requested.set()
        if not self.process.leaving:
            self.process.interrupt()
        try:
            await self.services.stop()
        finally:
            if self._responder is not None:
                self._responder.close()
            await self.transport.close()
            stop_measuring(self._measured)
