"""The worker of a fake broker: it serves what a test has added, at once, and needs no task that a test would await."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._observability.health import Health
from rabibridge_core._protocol.control import control_key
from rabibridge_core._server.classed_service import ClassedServiceRunner
from rabibridge_core._server.control import ControlResponder
from rabibridge_core._server.service_set import ServiceSet
from rabibridge_core._server.worker_status import WorkerReport
from rabibridge_core._services.auto import as_fetch_size
from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.plugins.call_hooks import CallHooks
from rabibridge_core.transport import ConnectionState
from rabibridge_testing._fake.recording import codec_of
from rabibridge_testing._memory.namespaces import key_in
from rabibridge_testing._memory.threads import post

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import ServiceQueue
    from rabibridge_testing._memory.transport import MemoryTransport

__all__ = ["WORKER", "FakeWorker"]

WORKER = "fake_broker"
"""The name that the worker gives to those who ask for it."""


class FakeWorker:
    """Serves the functions of a fake broker on one event loop, and answers control requests as a server does."""

    def __init__(self, transport: MemoryTransport, settings: Settings | None) -> None:
        """Connect, and serve nothing yet; ``settings``: those of a client or server of the test, if there is one."""
        self.transport = transport
        self._services = ServiceSet(
            transport,
            codec_of(settings),
            CallHooks(),
            drain_timeout=0,
            queue_type="classic" if settings is None else settings.queue_type,
            run_timeout=None if settings is None else settings.run_timeout,
            slow_call=None if settings is None else settings.slow_call,
            deadline_admission=True if settings is None else settings.deadline_admission,
            remote_traceback="full" if settings is None else settings.remote_traceback,
            name=WORKER,
        )
        self._services.fetch_size = None if settings is None else as_fetch_size(settings.fetch_size)
        transport.attach()
        self._responder: ControlResponder | None = None
        if settings is None or settings.control:
            report = WorkerReport(WORKER, self._services, self._health, lambda: False)
            self._responder = ControlResponder(WORKER, report)
            transport.hear_control(key_in(transport.namespace, control_key()), self._responder.received)

    def serve(self, services: Iterable[tuple[ServiceSchema, ServiceQueue | None]]) -> None:
        """Serve those of the functions that are new.

        Args:
            services: each with the queue to take calls from; ``None``: those of the service.
        """
        for schema, queue in services:
            name = schema.name
            if name not in self._services.runners:
                runner = self._services.make_runner(self._services.add(schema))
                self._services.runners[name] = runner
                if queue is not None:
                    runner.consumer = self.transport.consume(queue, runner)
                elif isinstance(runner, ClassedServiceRunner):
                    runner.consumer = runner.consume(self.transport, self.transport.consume)
                else:
                    runner.consumer = self.transport.consume(runner.schema.queue, runner)
                runner.count_workers(self.transport)

    def _health(self) -> Health:
        state = self.transport.state
        reasons = self._services.problems() if state is ConnectionState.READY else [f"the connection is {state.value}"]
        return Health(not reasons, state, tuple(reasons))

    @property
    def running(self) -> list[str]:
        """The services whose functions run now."""
        return [name for name, runner in self._services.runners.items() if runner.active_requests]

    def end(self) -> None:
        """Cancel all functions that run, once the event loop runs again; the transport was closed."""
        post(self.transport.loop, self._end)

    def _end(self) -> None:
        for runner in self._services.runners.values():
            runner.lost(ConnectionLostError(f"the worker of {WORKER} was stopped"))
            runner.abort_drain()
            runner.processor.close()
        self._services.stop_watching()
        if self._responder is not None:
            self._responder.close()

    async def stop(self) -> None:
        """Cancel the running calls, and disconnect."""
        await self._services.stop()
        if self._responder is not None:
            self._responder.close()
        await self.transport.close()
