"""The worker of a test on a real broker: it serves the functions and stubs that the test has added."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from rabibridge_core._observability.health import Health
from rabibridge_core._protocol.control import control_key
from rabibridge_core._server.control import ControlResponder
from rabibridge_core._server.service_set import ServiceSet
from rabibridge_core._server.worker_status import WorkerReport
from rabibridge_core.plugins.call_hooks import CallHooks
from rabibridge_core.transport import Abandonable, ConnectionState, ControlReceiver
from rabibridge_testing._fake.recording import codec_of
from rabibridge_testing._fake.worker import WORKER

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import ServiceQueue, Transport

__all__ = ["RealWorker"]

_STEP = 0.01


class RealWorker:
    """Serves on one event loop, on a connection of its own.

    Attributes:
        loop: the event loop.
    """

    def __init__(self, transport: Transport, settings: Settings) -> None:
        """Prepare a worker that serves nothing yet."""
        self.loop = asyncio.get_running_loop()
        self._transport = transport
        self._services = ServiceSet(
            transport,
            codec_of(settings),
            CallHooks(),
            drain_timeout=0,
            queue_type=settings.queue_type,
            run_timeout=settings.run_timeout,
            remote_traceback=settings.remote_traceback,
            name=WORKER,
        )
        self._report = WorkerReport(WORKER, self._services, self._health, lambda: False)
        self._responder: ControlResponder | None = None

    async def started(self, *, control: bool) -> Self:
        """Connect; ``control``: answer those who ask workers."""
        await self._transport.connect()
        if control and isinstance(self._transport, ControlReceiver):
            self._responder = ControlResponder(WORKER, self._report)
            await self._transport.receive_control(control_key(), self._responder.received)
        return self

    async def serve(self, services: Iterable[tuple[ServiceSchema, ServiceQueue | None]]) -> None:
        """Serve those of the services that are new, and return when they receive calls.

        Args:
            services: each with the queue to take calls from; ``None``: those of the service.

        Raises:
            RabiBridgeError: the broker refuses a queue.
        """
        for schema, queue in services:
            if schema.name in self._services.runners:
                continue
            runner = self._services.make_runner(self._services.add(schema))
            if queue is None:
                await runner.processor.prepare()
                await runner.start(self._transport)
            else:
                runner.consumer = await self._transport.serve(queue, runner)
            self._services.runners[schema.name] = runner
            while runner.consumer is not None and not runner.consumer.live:
                if runner.consumer.error is not None:
                    raise runner.consumer.error
                await asyncio.sleep(_STEP)  # a transport does not tell when a consumer becomes live

    def _health(self) -> Health:
        state = self._transport.state
        reasons = self._services.problems() if state is ConnectionState.READY else [f"the connection is {state.value}"]
        return Health(not reasons, state, tuple(reasons))

    @property
    def running(self) -> list[str]:
        """The services whose functions run now."""
        return [name for name, runner in self._services.runners.items() if runner.active_requests]

    async def stop(self) -> None:
        """Cancel the running calls, and disconnect."""
        await self._services.stop()
        if self._responder is not None:
            self._responder.close()
        await self._transport.close()

    def abandon(self) -> None:
        """Release the connection; the event loop may run no more."""
        if isinstance(self._transport, Abandonable):
            self._transport.abandon()
