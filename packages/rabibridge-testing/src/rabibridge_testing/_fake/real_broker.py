"""A ``fake_broker`` that is none: the same tests on a real broker.

Functions and stubs are served by a worker of the test on a connection of its own, on the event loop of the client or
server that connected first. Calls are recorded where clients send them. What only the broker in memory can do, such as
its faults, skips the test.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from rabibridge_core._protocol.broker_texts import NO_ROUTE, QUEUE_FULL
from rabibridge_core._protocol.naming import service_of_routing_key
from rabibridge_core.errors import QueueFullError
from rabibridge_core.plugins import plugin_manager
from rabibridge_core.settings import load_settings
from rabibridge_core.transport import Abandonable, ConnectionState
from rabibridge_testing._fake.fake_broker import FakeBroker
from rabibridge_testing._fake.observed import ObservedTransport
from rabibridge_testing._fake.real_worker import RealWorker
from rabibridge_testing._memory.namespaces import key_without
from rabibridge_testing._memory.threads import locked

if TYPE_CHECKING:
    from collections.abc import Callable

    from rabibridge_core.settings import Settings
    from rabibridge_core.transport import Refusal, Request, ServiceQueue, Transport
    from rabibridge_testing._fake.serving import Served
    from rabibridge_testing._memory.messages import CallTrace
    from rabibridge_testing._recordings.file import Way

__all__ = ["RealBroker"]

_ONLY_IN_MEMORY = (
    "block", "clear_faults", "clock", "corrupt_replies", "dead_letters", "delay", "delete_queue", "drop_replies",
    "duplicate", "faults", "lose_channel", "lose_connection", "max_message_size", "refuse", "refuse_connections",
    "restart", "restore", "unblock", "undeliverable_replies",
)  # fmt: skip


class RealBroker(FakeBroker):
    """The broker of one test, which is a real one.

    Attributes:
        url: its URL; ``None``: clients and servers connect to what they are configured for.
    """

    def __init__(
        self,
        url: str | None,
        where: str,
        skip: Callable[[str], NoReturn],
        *,
        namespace: str = "",
        strict: bool = False,
        finished: Callable[[], None] | None = None,
    ) -> None:
        """Use a broker.

        Args:
            url: its URL; ``None``: clients and servers connect to what they are configured for.
            where: what it is, such as ``RabbitMQ``.
            skip: called where a test needs what only the broker in memory can do.
            namespace: the namespace of clients and servers that name none; empty: none.
            strict: see :class:`FakeBroker`.
            finished: called at the end of the test.
        """
        super().__init__(strict=strict)
        self.url = url
        self._finished = finished
        self._where, self._skip, self._apart = where, skip, namespace
        self._open: list[ObservedTransport] = []
        self._names: set[str] = set()
        self._real: RealWorker | None = None
        self._served: set[str] = set()
        self._serving: asyncio.Lock | None = None

    def __getattribute__(self, name: str) -> Any:
        if name in _ONLY_IN_MEMORY:
            self.needs_memory(f"fake_broker.{name}")
        return super().__getattribute__(name)

    def needs_memory(self, what: str) -> None:
        """Skip the test."""
        self._skip(f"{what} needs the broker in memory, and this test runs on {self._where}")

    def _misspelled_faults(self, called: set[str]) -> list[str]:
        return []  # it has none

    # What clients and servers connect with.

    def transport_for(self, settings: Settings, name: str) -> ObservedTransport:  # type: ignore[override]
        """Return a new transport to the real broker, whichever broker is configured: a ``TransportFactory``."""
        self._settings = settings
        return ObservedTransport(self._transport_in(settings, name), self)

    def _transport_in(self, settings: Settings, name: str) -> Transport:
        if self.url is None:
            return plugin_manager().transport(settings.endpoints[0].scheme, settings, name)
        here = load_settings(url=self.url)
        same = type(here.transport) is type(settings.transport)
        settings = replace(
            settings,
            endpoints=here.endpoints,
            transport=settings.transport if same else here.transport,
            namespace=settings.namespace or self.namespace or self._apart,
        )
        return plugin_manager().transport(here.endpoints[0].scheme, settings, name)

    async def opened(self, transport: ObservedTransport) -> None:  # type: ignore[override]
        """Called when a transport has connected: serve the functions of the test."""
        self._open.append(transport)
        await self.served()

    async def closed(self, transport: ObservedTransport) -> None:  # type: ignore[override]
        """Called when a transport was closed: stop the worker if no other one is left on its event loop."""
        if transport in self._open:
            self._open.remove(transport)
        worker = self._real
        if worker is None or worker.loop is not transport.loop or any(one.loop is worker.loop for one in self._open):
            return
        self._forget_worker()
        await worker.stop()

    # What the worker serves.

    @property
    def waits(self) -> bool:
        """Whether the functions of the test are not all served yet."""
        return not self._services.keys() <= self._served

    async def served(self) -> None:
        """Serve what is not served yet, and return when it receives calls."""
        loop = asyncio.get_running_loop()
        worker = self._real
        if worker is not None and worker.loop is not loop:
            if worker.loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._serve_here(), worker.loop))
                return
            self._leave_worker()
        await self._serve_here()

    async def _serve_here(self) -> None:
        if self._serving is None:
            self._serving = asyncio.Lock()
        async with self._serving:
            if not self.waits:
                return
            assert self._settings is not None
            if self._real is None:
                settings = self._settings
                transport = self._transport_in(settings, "the worker of fake_broker")
                self._real = await RealWorker(transport, settings).started(control=settings.control)
            services = dict(self._services)
            await self._real.serve(services.values())
            self._served |= services.keys()

    def _serve_from(self, service: Served) -> None:
        self._services[service.schema.name] = service

    @locked
    def _forget_services(self) -> None:
        self._stubs.clear()
        self._recordings.clear()
        self._services.clear()
        self._leave_worker()

    def _leave_worker(self) -> None:
        if (worker := self._real) is not None:
            self._forget_worker()
            worker.abandon()

    def _forget_worker(self) -> None:
        self._real, self._serving = None, None
        self._served.clear()

    # What is recorded.

    @locked
    def sent(self, request: Request, way: Way) -> tuple[CallTrace, tuple[Refusal, str] | None]:
        """Record a request; return the record, and the refusal if a stub refuses it."""
        trace = self._trace(request, broadcast=way == "broadcast", notification=way == "notify")
        assert trace is not None
        stub = self._stubs.get(trace.service)
        refusal = None if stub is None else stub.refusal(trace)
        if refusal is None:
            return trace, None
        return trace, (refusal, QUEUE_FULL if issubclass(refusal, QueueFullError) else NO_ROUTE)

    def fed(self, request: Request) -> None:
        """Record a further message of a call."""
        self._trace_fed(request)

    def cancelled(self, correlation_id: bytes) -> None:
        """Record that a call was given up by its caller."""
        self._trace_cancelled(correlation_id)

    def serves(self, service_queue: ServiceQueue) -> None:
        """Called when a server of the test serves a queue."""
        self._names |= {service_of_routing_key(key_without(key)) for key in service_queue.routing_keys}

    def _served_names(self) -> list[str]:
        return [*self._services, *sorted(self._names)]

    @locked
    def reset(self) -> None:
        """Begin anew: forget calls, functions and stubs. Connections stay; requests that wait stay on the broker."""
        self._forget_services()
        self.traces.clear()

    @locked
    def shut_down(self) -> list[str]:
        """Release all connections at the end of the test, and return what was left open, as sentences."""
        own = asyncio._get_running_loop()
        here = [
            one
            for one in self._open
            if one.loop is not None and not one.loop.is_closed() and (one.loop is own or not one.loop.is_running())
        ]
        left = [f"{one} is still connected" for one in here if one.state is not ConnectionState.CLOSED]
        for one in here:
            if isinstance(one, Abandonable):
                one.abandon()
        self._leave_worker()
        self._open.clear()
        if self._finished is not None:
            self._finished()
        return left
