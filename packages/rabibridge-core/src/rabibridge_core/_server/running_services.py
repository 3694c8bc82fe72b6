"""The services of one server that run: starting, replacing and stopping them, and what is known of their state."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rabibridge_core._concurrency.background import TaskSet
from rabibridge_core._observability.call_context import CurrentCall, current_call_var
from rabibridge_core._observability.metrics import installed_metrics
from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core._server.active_calls import describe_active, service_of_task
from rabibridge_core._server.adaptive_service import runner_class
from rabibridge_core._server.caller_clocks import CallerClocks
from rabibridge_core._server.left_queues import delete_left, left_queues
from rabibridge_core._server.process_scope import ProcessScope
from rabibridge_core._server.rate_limiter import RateLimiter, rate_limiter_of
from rabibridge_core._server.slow_calls import SlowCalls
from rabibridge_core._server.statistics import ServiceStatistics
from rabibridge_core._server.stream_sessions import FILLED
from rabibridge_core._services.injection import injections_of
from rabibridge_core._services.registry import Registry
from rabibridge_core.errors import ConfigurationError, RabiBridgeError, RegistrationError

if TYPE_CHECKING:
    from rabibridge_core._codec.codec import Codec
    from rabibridge_core._protocol.remote_errors import RemoteTraceback
    from rabibridge_core._server.service import ServiceRunner
    from rabibridge_core._services.access import Policy
    from rabibridge_core._services.auto import auto
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.plugins.call_hooks import CallHooks
    from rabibridge_core.transport import QueueType, Transport

__all__ = ["RunningServices"]

_log = get_logger(__name__)


class RunningServices:
    """The services of one server that run or finish, and what is known of those that do not."""

    def __init__(
        self,
        transport: Transport,
        codec: Codec,
        hooks: CallHooks,
        *,
        drain_timeout: float,
        queue_type: QueueType,
        run_timeout: float | None = None,
        slow_call: float | None = None,
        deadline_admission: bool = True,
        remote_traceback: RemoteTraceback = "full",
        name: str = "",
        registry: Registry | None = None,
        process: ProcessScope | None = None,
        policy: Policy | None = None,
    ) -> None:
        """Start empty.

        Args:
            transport: where requests come from.
            codec: decodes arguments and encodes results.
            hooks: called for each request.
            drain_timeout: how long active requests may take to finish when a service stops, in seconds.
            queue_type: the queue type of services that do not choose one.
            run_timeout: how long calls may run, in seconds, of services that do not say it; ``None``: no limit.
            slow_call: after how many seconds stacks are logged, of services that do not say it; ``None``: never.
            deadline_admission: whether services that do not say it refuse calls that cannot end in their time.
            remote_traceback: what callers are told of exceptions by services that do not say it.
            name: the name of this worker.
            registry: services that are registered already; ``None``: none.
            process: what the services need that lives as long as they are served; ``None``: nothing.
            policy: decides which calls are admitted; ``None``: nothing but the services themselves.
        """
        self.registry = Registry() if registry is None else registry
        self.runners: dict[str, ServiceRunner] = {}
        """The services that run, by name."""
        self.serving = False  # whether a service that is added starts at once
        self.lock = asyncio.Lock()  # held while services change
        self.fetch_size: int | auto | None = None  # of services that do not say it
        self._transport, self._codec, self._hooks = transport, codec, hooks
        self._process, self.drain_timeout = ProcessScope() if process is None else process, drain_timeout
        self._name, self._policy, self._aborted = name, policy, False
        self._rates: dict[str, RateLimiter] = {}
        self._queue_type, self._remote_traceback = queue_type, remote_traceback
        self._run_timeout, self._deadline_admission = run_timeout, deadline_admission
        self._slow_calls, self._clocks = SlowCalls(slow_call, self.all_runners), CallerClocks()
        self._failures: dict[str, RabiBridgeError] = {}
        self._statistics: dict[str, ServiceStatistics] = {}
        self._metrics = metrics = installed_metrics()
        self._metrics_owner = 0 if metrics is None else metrics.new_owner(self)
        self._changes, self._stops = TaskSet(), TaskSet()
        self._stopping: set[ServiceRunner] = set()
        """Services that finish their active requests: all of them, or those that a change has dropped."""

    def _completed(self, schema: ServiceSchema) -> ServiceSchema:
        """Return a service with what the settings say where it does not, the policy, and what its parameters need.

        Raises:
            RegistrationError: a parameter cannot be filled in.
        """
        injections = schema.injections
        if injections is None:
            injections = injections_of(schema.func_ptr, filled=FILLED if schema.resumable else {})
        size = None if schema.executor == "process" else self.fetch_size
        return replace(
            schema,
            fetch_size=size if schema.fetch_size is None else schema.fetch_size,
            queue_type=schema.queue_type or self._queue_type,
            slow_call=self._slow_calls.default if schema.slow_call is None else schema.slow_call,
            run_timeout=self._run_timeout if schema.run_timeout is None else schema.run_timeout,
            deadline_admission=self._deadline_admission if (own := schema.deadline_admission) is None else own,
            remote_traceback=schema.remote_traceback or self._remote_traceback,
            injections=injections,
            policy=self._policy,
        )

    async def _put(self, schema: ServiceSchema) -> None:
        """Start a service, replace its handler, or replace it as a whole if its queue limits have changed."""
        self._failures.pop(schema.name, None)
        if schema.executor != "process":  # its child processes make what they need themselves
            await self._process.prepare(schema)
        if (running := self.runners.get(schema.name)) is None:
            await self._start(schema)
            return
        if running.live and running.can_go_on_as(schema):
            if schema.executor == "process":
                await running.processor.prepare(schema)
            running.replace_handler(schema)
            running.processor.rate = rate_limiter_of(schema, self._rates, self._transport)
            self._slow_calls.watch(schema)
            self.registry.replace(schema)
            return
        try:
            for queue in schema.queues:
                await self._transport.declare(replace(queue, redeclare=False))
        except ConfigurationError:
            if not schema.re_register:
                raise  # the running service continues unchanged
        finishing = await self._drop(self.runners.pop(schema.name))
        try:
            await self._start(schema, after=running)
            if left := left_queues(running.schema, schema):
                self._changes.spawn(delete_left(self._transport, left, finishing))
        except (ConfigurationError, RegistrationError):  # for example because another worker serves the queue
            await self._start(replace(running.schema, re_register=False), after=running)
            raise

    def make_runner(self, schema: ServiceSchema) -> ServiceRunner:
        """Return what will run a service, and watch for slow calls.

        Its statistics are those of the service of that name until now.
        """
        runner = runner_class(schema)(
            schema, self._codec, self._hooks, clocks=self._clocks, worker=self._name, process=self._process
        )
        runner.processor.rate = rate_limiter_of(schema, self._rates, self._transport)
        runner.processor.statistics = self.statistics_of(schema.name)
        runner.processor.statistics.use(schema)
        self._slow_calls.watch(schema)
        return runner

    def stop_watching(self) -> None:
        """Look for slow calls no longer: the event loop ends, or the services do."""
        self._slow_calls.stop()

    async def _start(self, schema: ServiceSchema, after: ServiceRunner | None = None) -> None:
        runner = self.make_runner(schema)
        if after is not None:
            runner.follow(after)
        self.registry.replace(schema)
        self.runners[schema.name] = runner  # before it starts, so that stop() also drains a service that is starting
        try:
            await runner.processor.prepare()
            await runner.start(self._transport)
        except Exception:
            del self.runners[schema.name]
            runner.processor.close()
            await runner.processor.wait_closed()
            raise

    def statistics_of(self, name: str) -> ServiceStatistics:
        """Return what is counted for a service that is registered; it stays when the service changes."""
        statistics = self._statistics.get(name)
        if statistics is None:
            statistics = self._statistics[name] = self._new_statistics(name)
        return statistics

    def _new_statistics(self, name: str) -> ServiceStatistics:
        if self._metrics is None:
            return ServiceStatistics()
        from rabibridge_core._server.measured_statistics import MeasuredStatistics  # not where metrics are off

        return MeasuredStatistics(name, self._metrics, self._metrics_owner)

    async def _drop(self, runner: ServiceRunner) -> asyncio.Task[int]:
        """Stop a service. Its active requests finish in the background, in the task that is returned."""
        self._stopping.add(runner)
        await runner.stop_consuming()
        return self._stops.spawn(self._finish(runner))

    async def _finish(self, runner: ServiceRunner) -> int:
        self._stopping.add(runner)
        try:
            if self._aborted:
                runner.abort_drain()
            unfinished = await runner.stop(self.drain_timeout)
            await runner.processor.wait_closed()
            return unfinished
        finally:
            self._stopping.discard(runner)

    async def stop(self) -> None:
        """Stop all services within the drain timeout; they can be started again."""
        self.serving = False
        for task in self._changes:
            task.cancel()  # it may wait for a connection
        try:
            async with self.lock:
                runners = list(self.runners.values())
                waits_for = describe_active([*runners, *self._stopping])
                if waits_for:
                    _log.info(
                        "stopping: up to %g s for the calls in flight: %s", self.drain_timeout, waits_for,
                        extra=log_fields("server.stopping", instance=self._name, duration=self.drain_timeout),
                    )  # fmt: skip
                self.runners.clear()
                self._stopping.update(runners)
                unfinished = await asyncio.gather(*map(self._finish, runners), *self._stops)
                if waits_for and not any(unfinished):
                    _log.info(
                        "stopped: all calls in flight are finished",
                        extra=log_fields("server.drained", instance=self._name),
                    )
        finally:
            self._aborted = False
            self._slow_calls.stop()
        self._clocks.stop()

    def abort_drain(self) -> None:
        """Make :meth:`stop`, running or called next, requeue the active requests at once."""
        self._aborted = True
        for runner in self._stopping:
            runner.abort_drain()

    @property
    def active_requests(self) -> int:
        """Number of requests that are processed or queued in all services, including those that are being stopped."""
        return sum(runner.active_requests for runner in self.all_runners())

    @property
    def answered(self) -> int:
        """Number of calls that have ended, of the present services."""
        return sum(statistics.ended for statistics in self._statistics.values())

    def problems(self) -> list[str]:
        """Return one sentence for each registered service that receives no calls."""
        return [problem for schema in self.registry if (problem := self.problem(schema.name))]

    def problem(self, name: str) -> str:
        """Return why a service receives no calls, or can run none; empty: nothing is wrong."""
        runner = self.runners.get(name)
        if runner is not None and runner.live:
            return f"service {name!r}: {runner.problem}" if runner.problem else ""
        error = runner.consumer.error if runner is not None and runner.consumer is not None else None
        why = str(error or self._failures.get(name) or "") or ("" if runner is None else runner.problem)
        return f"service {name!r} receives no calls: {why or 'it is starting, or its queue is being redeclared'}"

    def processes(self, call: CurrentCall) -> bool:
        """Tell whether this call is one of the active requests."""
        return any(runner.runs(call) for runner in self.all_runners())

    def all_runners(self) -> set[ServiceRunner]:
        """Return what runs services, also those that are being stopped; may be called from any thread."""
        return {*self.runners.values(), *self._stopping}

    def check_is_no_caller(self, name: str) -> None:
        """Check that no call that is processed here closes the server of this name, which would wait for that call.

        Raises:
            ConfigurationError: one does.
        """
        call = current_call_var.get()
        if not isinstance(call, CurrentCall) or not self.processes(call):
            return
        error = ConfigurationError(
            f"a call of {call.service!r} that {name} processes cannot close it, because close() waits for that call: "
            "use stop(), which does not wait"
        )
        # The handler may have left it to a task or a thread that nobody asks.
        _log.error("%s", error, extra=log_fields("server.close_refused", instance=name, service=call.service))
        raise error

    def service_of(self, task: asyncio.Task[Any]) -> str | None:
        """Return the name of the service whose handler runs in ``task``, if any; may be called from any thread."""
        return service_of_task(task, self.runners)
