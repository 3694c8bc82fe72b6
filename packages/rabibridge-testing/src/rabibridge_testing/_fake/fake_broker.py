"""The broker behind the ``fake_broker`` fixture: a memory broker that can run functions and shows the calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rabibridge_core._server.service import ServiceRunner
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.registration import registered_limits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import RegistrationError
from rabibridge_core.plugins.call_hooks import CallHooks
from rabibridge_core.transport import ConnectionState
from rabibridge_testing._fake.recording import codec_of, decode
from rabibridge_testing._memory.broker import MemoryBroker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rabibridge_core._codec.codec import Codec
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import Delivery
    from rabibridge_testing._fake.recording import RecordedCall
    from rabibridge_testing._memory.transport import MemoryTransport

__all__ = ["FakeBroker"]


class FakeBroker(MemoryBroker):
    """A broker for one test.

    Functions given to :meth:`add_service` are served by a worker of its own, which runs as long as any client or server
    of the test is connected, on their event loop.
    """

    def __init__(self) -> None:
        """Make an empty broker that keeps all calls."""
        super().__init__("fake_broker", trace=True)
        self._schemas: dict[str, ServiceSchema] = {}
        self._worker: _Worker | None = None
        self._settings: Settings | None = None
        self._reader = codec_of()

    def transport_for(self, settings: Settings, name: str) -> MemoryTransport:
        """Return a new transport to this broker, whatever the settings say: a ``TransportFactory``."""
        self._settings = settings
        return self.transport(name)

    def add_service(
        self,
        func: Callable[..., Any],
        queue_size: int | None = None,
        fetch_size: int | None = None,
        timeout: float | None = None,
        *,
        validate: bool = False,
        delivery: Delivery | None = None,
        idempotent: bool = False,
        redelivery_limit: int | None = None,
    ) -> ServiceSchema:
        """Serve ``func`` under its name, without a server.

        It can be called from then on. Limits are those of ``register_call``; what is left out is as that says of a
        decorated function. When the last client and server of the test has disconnected, calls in hand are cancelled
        and those that wait are dropped.

        Args:
            func: an async or sync function.
            queue_size: how many calls may wait; ``None``: no limit.
            fetch_size: how many calls run at a time; ``None``: 256, or 32 where ``func`` is not async.
            timeout: how long a call may wait in the queue, in seconds; ``None``: no limit.
            validate: check the arguments against the annotations.
            delivery: ``"at-least-once"`` or ``"at-most-once"``; ``None``: at least once.
            idempotent: whether callers send it again by themselves after a lost connection.
            redelivery_limit: how often a call is given to the worker again; then it is a dead letter. ``None``: 5.

        Raises:
            RegistrationError: the function or the limits cannot be used, or the name is taken.
            ConfigurationError: a server of this test declared the queue with other limits.
        """
        given = ServiceLimits(
            queue_size,
            fetch_size,
            timeout,
            validate,
            delivery=delivery,
            idempotent=idempotent,
            redelivery_limit=redelivery_limit,
        )
        schema = ServiceSchema.of(func, given.with_defaults(registered_limits(func)))
        if schema.name in self._schemas:
            raise RegistrationError(f"the fake broker serves {schema.name!r} already: give the function another name")
        self.declare(schema.queue)
        self._schemas[schema.name] = schema
        self._serve_soon()
        return schema

    def restore(self) -> None:
        """Accept connections again; the functions are served again, and those that were added meanwhile."""
        super().restore()
        self._serve_soon()

    @property
    def calls(self) -> list[RecordedCall]:
        """All calls so far, in the order in which they were sent; a new list at each reading.

        A worker that dies and another that runs the call again are one call here, a call refused is one, too. A
        call that its client sends again is one more each time, with the same ``correlation_id``.
        """
        return [decode(trace, self._reader) for trace in self.traces]

    def calls_of(self, service: str) -> list[RecordedCall]:
        """Those of :attr:`calls` that were meant for ``service``."""
        return [call for call in self.calls if call.service == service]

    async def opened(self, transport: MemoryTransport) -> None:
        """Start the worker, if there is something to serve."""
        self._serve()

    async def closed(self, transport: MemoryTransport) -> None:
        """Stop the worker when nobody else is left."""
        worker = self._worker
        if worker is not None and all(other is worker.transport for other in self.transports):
            self._worker = None
            await worker.stop()
            for schema in self._schemas.values():
                if queue := self.queues.get(schema.queue_name):
                    queue.purge()

    def shut_down(self) -> None:
        """Drop all connections and queues at the end of the test. It needs no event loop."""
        self.accepting = False
        self._worker = None
        self.abandon(list(self.transports))
        for name in list(self.queues):
            self.delete_queue(name)
        self.clear_faults()

    def _serve_soon(self) -> None:
        for transport in self.transports:
            if not transport.loop.is_closed():
                transport.loop.call_soon(self._serve)
                break

    def _serve(self) -> None:
        """Let the worker run what it does not run yet; must be called on the loop."""
        if not self._schemas or not self.transports:
            return
        if self._worker is None or self._worker.transport.state is ConnectionState.CLOSED:
            if not self.accepting:
                return  # restore() comes here again
            self._worker = _Worker(self.transport("the worker of fake_broker"), codec_of(self._settings))
        self._worker.serve(self._schemas)


class _Worker:
    """Runs the functions of a fake broker on one event loop."""

    def __init__(self, transport: MemoryTransport, codec: Codec) -> None:
        self.transport = transport
        self._codec = codec
        self._hooks = CallHooks()
        self._services: dict[str, ServiceRunner] = {}
        transport.attach()

    def serve(self, schemas: Mapping[str, ServiceSchema]) -> None:
        for name, schema in schemas.items():
            if name not in self._services:
                service = self._services[name] = ServiceRunner(schema, self._codec, self._hooks)
                service.consumer = self.transport.consume(schema.queue, service)

    async def stop(self) -> None:
        for service in self._services.values():
            await service.stop(0)
        await self.transport.close()
