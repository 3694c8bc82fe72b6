"""The part of the fake broker that serves functions without a server, on the event loop of whoever is connected."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack, overload

from rabibridge_core._services.callables import place_of
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.offers import schemas_of, service_object
from rabibridge_core.errors import RegistrationError
from rabibridge_core.settings.transports import installed_transports
from rabibridge_core.transport import ConnectionState
from rabibridge_testing._fake.doubles import real_function
from rabibridge_testing._fake.recording import codec_of
from rabibridge_testing._fake.served_functions import checked
from rabibridge_testing._fake.worker import WORKER, FakeWorker
from rabibridge_testing._memory.broker import MemoryBroker
from rabibridge_testing._memory.namespaces import queue_in
from rabibridge_testing._memory.threads import locked, post

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Collection, Mapping
    from datetime import timedelta

    from rabibridge_core._protocol.remote_errors import RemoteTraceback
    from rabibridge_core._services.limit_arguments import LimitArguments
    from rabibridge_core._services.limits import FetchSize, HandlerPlace
    from rabibridge_core._services.schema import ServiceSchema
    from rabibridge_core.errors import ServiceError
    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import Delivery, QueueType, ServiceQueue
    from rabibridge_testing._memory.transport import MemoryTransport

__all__ = ["Served", "ServingBroker"]


class Served(NamedTuple):
    """A service, and the queue that its worker takes calls from; ``None``: those of the service."""

    schema: ServiceSchema
    queue: ServiceQueue | None = None

    @property
    def queues(self) -> tuple[ServiceQueue, ...]:
        return self.schema.queues if self.queue is None else (self.queue,)


class ServingBroker(MemoryBroker):
    """A broker that serves functions itself.

    It serves them as long as any client or server is connected, on the event loop of the first of these.

    Attributes:
        namespace: the namespace of the functions given to :meth:`add_service`, empty for none. A test may set it before
            the first of them.
    """

    def __init__(self) -> None:
        """Create an empty broker that records all calls."""
        super().__init__("fake_broker", trace=True)
        self.namespace = ""
        self._services: dict[str, Served] = {}
        self._worker: FakeWorker | None = None
        self._settings: Settings | None = None
        self._reader = codec_of()

    def transport_for(self, settings: Settings, name: str) -> MemoryTransport:
        """Return a new transport to this broker, whichever broker is configured: a ``TransportFactory``."""
        self._settings = settings
        endpoint = settings.endpoints[0] if settings.endpoints and settings.identify else None
        user = "" if endpoint is None else endpoint.username
        transport = self.transport(name, user=user, namespace=settings.namespace)
        transport.connect_timeout = settings.connect_timeout
        for declaration in installed_transports():
            if declaration.settings is type(settings.transport):
                transport.refusals = declaration.refusals()
        return transport

    @overload
    def add_service(  # type: ignore[overload-overlap] # as in RpcServer
        self,
        func: Callable[..., Any],
        queue_size: int | None = None,
        fetch_size: FetchSize | None = None,
        timeout: float | timedelta | None = None,
        *,
        name: str | None = None,
        validate: bool = False,
        re_register: bool = False,
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
        self, func: object, /, *, name: str | None = None, **limits: Unpack[LimitArguments]
    ) -> tuple[ServiceSchema, ...]: ...
    def add_service(
        self,
        func: Any,
        queue_size: int | None = None,
        fetch_size: FetchSize | None = None,
        timeout: float | timedelta | None = None,
        *,
        name: str | None = None,
        validate: bool = False,
        re_register: bool = False,
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
        """Serve ``func`` under its name, or the methods of an object of a service class, without a server.

        Clients can call it from then on. The limits are those of ``register_call``; those that are left out are taken
        from the function's ``@register_call``, if it has one. Adding the same function again changes nothing. When the
        last client and server of the test has disconnected, running calls are cancelled and waiting calls are dropped.

        Args:
            func: an async or sync function, a bound method, a partial or a callable object; or an object whose class is
                decorated with ``@service``. A mock has the kind of what it stands for, and needs a name.
            queue_size: how many calls may wait; ``None``: no limit.
            fetch_size: how many calls run at a time, or ``"auto"``; ``None``: 256, or 32 if ``func`` is not async.
            timeout: how long a call may wait in the queue, in seconds; ``None``: no limit.
            name: the name of the service, or what stands in front of the names of methods; ``None``: as with a server.
            validate: check the arguments against the annotations.
            re_register: if the queue exists with other limits, delete it together with its waiting calls.
            delivery: ``"at-least-once"`` or ``"at-most-once"``; ``None``: at least once.
            idempotent: running it twice does no harm: clients send a call again after a lost connection.
            redelivery_limit: how often a call is redelivered before it becomes a dead letter; ``None``: 5.
            queue_type: ``"classic"`` or ``"quorum"``; ``None``: classic.
            fetch_ahead: how many more calls the worker holds, which wait there until a running one ends; ``None``: 0.
            raises: the subclasses of ServiceError that it raises on purpose.
            classes: the classes of criticality, each with the maximum number of calls that wait.
            resumable: another worker can go on with a stream that has broken off.
            executor: where it runs: ``"loop"``, ``"thread"`` or ``"process"``.
            max_calls_per_child: how many calls a child process runs before it is replaced.
            run_timeout: how long one call may run, in seconds.
            remote_traceback: what callers are told of an exception.
            fair: share the places among callers.
            allow: the users that may call it; ``None``: everybody.
            slow_call: after how many seconds the stack of a call is logged.
            deadline_admission: refuse calls that cannot end in their time; ``None``: as the settings say.
            max_wait: how long a call may have waited when it starts, in seconds.
            rate: how many calls may start in a time, such as ``"20/min"``.

        Raises:
            RegistrationError: the function or its limits cannot be used, or its name is taken.
            ConfigurationError: a server of this test declared the queue with other limits.
        """
        limits = ServiceLimits(
            queue_size, fetch_size, timeout, validate, re_register, delivery, idempotent, redelivery_limit, queue_type,
            fetch_ahead, raises, classes, resumable, executor, max_calls_per_child, run_timeout, remote_traceback, fair,
            allow, slow_call, deadline_admission, max_wait, rate,
        )  # fmt: skip
        func, name = real_function(func, name)
        added = tuple(map(self._add_schema, schemas_of(func, limits, name)))
        return added[0] if service_object(func) is None else added

    @locked
    def restore(self) -> None:
        """Accept connections again, and serve all functions, including those added meanwhile."""
        super().restore()
        self._serve_soon()

    async def opened(self, transport: MemoryTransport) -> None:
        """Called when a transport has connected: start the worker if there are functions to serve."""
        worker = self._worker
        if (
            worker is not None
            and worker.transport.loop is not transport.loop
            and not worker.transport.loop.is_running()
        ):
            self._leave_worker()  # on a loop that may never run again
        self._serve()

    async def closed(self, transport: MemoryTransport) -> None:
        """Called when a transport was closed: stop the worker if no other one is left on its event loop."""
        worker = self._worker
        if worker is None or worker.transport.loop is not transport.loop:
            return
        others = [other for other in self.transports if other is not worker.transport]
        if any(other.loop is transport.loop for other in others):
            return
        self._worker = None
        await worker.stop()
        if others:
            self._serve_soon()
        else:
            self._purge()

    @locked
    def _purge(self) -> None:
        for service in self._services.values():
            for spec in service.queues:
                if queue := self.queues.get(queue_in(self.namespace, spec).name):
                    queue.purge()

    @locked
    def _leave_worker(self) -> None:
        """Stop the worker for good without waiting for it; its functions are cancelled when its loop runs."""
        worker, self._worker = self._worker, None
        if worker is not None:
            self.abandon([worker.transport])
            worker.end()

    @locked
    def _add_schema(self, schema: ServiceSchema) -> ServiceSchema:
        known = self._services.get(schema.name)
        if known is not None:
            if known.schema == schema:
                return schema
            raise RegistrationError(
                f"the fake broker already serves {schema.name!r}, by {place_of(known.schema.func_ptr)}: rename the "
                "function, or begin anew by reset()"
            )
        schema = checked(schema)
        self._serve_from(Served(schema))
        return schema

    def _serve_from(self, service: Served) -> None:
        for queue in service.queues:
            self.declare(queue_in(self.namespace, queue))
        self._services[service.schema.name] = service
        self._serve_soon()

    @locked
    def _forget_services(self) -> None:
        """Serve nothing any more, and delete the queues that nobody else serves."""
        self._leave_worker()
        services, self._services = self._services, {}
        for service in services.values():
            for spec in service.queues:
                name = queue_in(self.namespace, spec).name
                if (queue := self.queues.get(name)) is not None and not queue.consumers:
                    self.delete_queue(name)

    def _serve_soon(self) -> None:
        loop = self._loop_to_serve_on()
        if loop is not None:
            post(loop, self._serve)

    def _loop_to_serve_on(self) -> AbstractEventLoop | None:
        if self._worker is not None and self._worker.transport.state is not ConnectionState.CLOSED:
            return self._worker.transport.loop
        return next((other.loop for other in self.transports if not other.loop.is_closed()), None)

    @locked
    def _serve(self) -> None:
        """Start the worker if needed, and serve the functions added since; must be called on the event loop."""
        if not self._services or not self.transports:
            return
        if self._worker is None or self._worker.transport.state is ConnectionState.CLOSED:
            if not self.accepting:
                return  # restore() calls this again
            transport = self.transport(f"the worker of {WORKER}", namespace=self.namespace)
            self._worker = FakeWorker(transport, self._settings)
        if self._worker.transport.loop is asyncio.get_running_loop():
            self._worker.serve(self._services.values())
        else:
            self._serve_soon()
