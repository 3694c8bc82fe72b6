"""The services of one server: registered, running, or failed to start."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rabibridge_core._reporting.log_fields import log_fields
from rabibridge_core._reporting.loggers import get_logger
from rabibridge_core._server.exceptions import InterruptedStartError
from rabibridge_core._server.executors import validator
from rabibridge_core._server.process_executor import check_can_run_in_child
from rabibridge_core._server.running_services import RunningServices
from rabibridge_core._server.side_by_side import refusals, side_by_side, together, unknown_service
from rabibridge_core.errors import ConfigurationError, RabiBridgeError
from rabibridge_core.transport import QueueDeleter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from rabibridge_core._server.service import ServiceRunner
    from rabibridge_core._services.schema import ServiceSchema

__all__ = ["ServiceSet"]

_log = get_logger(__name__)
_LIVE_INTERVAL = 0.02


class ServiceSet(RunningServices):
    """The services of one server. While it is serving, each has a :class:`ServiceRunner`.

    Changes run one after the other: a service that is added or changed while another change runs waits for it.
    """

    _ended: Exception | None = None
    """The error with which the server has ended; ``None``: it has not, or without one."""

    def __getitem__(self, name: str) -> ServiceRunner:
        """Return the running service of that name."""
        return self.runners[name]

    def add(self, schema: ServiceSchema) -> ServiceSchema:
        """Register a service; while serving it starts in the background.

        Returns:
            The service with its queue type.

        Raises:
            RegistrationError: the name is taken, a parameter cannot be filled in, or ``validate=True`` cannot
                work with the annotations.
        """
        schema = self.checked(schema)  # fails here, before the queue exists and callers can reach it
        if schema.name in self._failures and schema.name not in self.runners:
            self.registry.remove(schema.name)  # it could not be started, so that it may be added with other limits
        known = schema.name in self.registry
        self.registry.add(schema)
        if not known and self.serving:
            self._failures.pop(schema.name, None)
            self._changes.spawn(self.change([], [schema]))
        return schema

    def checked(self, schema: ServiceSchema) -> ServiceSchema:
        """Return a service that can be added, with its queue type and with what its parameters need.

        Raises:
            RegistrationError: see :meth:`add`.
        """
        schema = self._completed(schema)
        if schema.executor == "process":
            check_can_run_in_child(schema)
        if schema.validate:
            validator(schema)
        return schema

    @property
    def count(self) -> str:
        """How many there are, in words."""
        count = len(self.registry)
        return "1 service" if count == 1 else f"{count} services"

    def log_serving(self, name: str) -> None:
        """Log what the server of this name serves."""
        count = len(self.registry)
        _log.info("%s serves %s", name, self.count, extra=log_fields("server.serves", instance=name, count=count))
        _log.debug(
            "%s serves %s", name, ", ".join(schema.name for schema in self.registry),
            extra=log_fields("server.serves", instance=name, count=count),
        )  # fmt: skip

    async def declare(self) -> list[ConfigurationError]:
        """Declare the queues of all services, and return the errors of those that the broker refuses.

        The caller holds :attr:`lock`.
        """
        ends = await side_by_side(
            "declared", [self._transport.declare(queue) for schema in self.registry for queue in schema.queues]
        )
        return refusals(ends)

    async def start(self) -> None:
        """Start all services; without effect while serving.

        Raises:
            ConfigurationError: the broker refuses a queue.
        """
        if self.serving:
            return
        self.serving = True
        self._clocks.start()
        async with self.lock:
            ends = await side_by_side("started", [self._put(schema) for schema in self.registry])
        if refused := refusals(ends):
            raise together(refused)

    async def remove(self, name: str, *, delete: bool = False) -> bool:
        """Stop a service and forget it; return whether its queue stays on the broker.

        Args:
            name: the service.
            delete: delete the queue when the calls in flight are finished, if nobody else consumes from it and no
                request waits in it.

        Raises:
            ConfigurationError: there is no service of that name, or its queue cannot be deleted.
            ConnectionLostError: there is no connection to delete the queue on.
        """
        schema = self._known(name)
        if delete and not isinstance(self._transport, QueueDeleter):
            raise ConfigurationError(f"{type(self._transport).__name__} cannot delete queues: leave delete= out")
        async with self._changing():
            finishing = await self._forget(name)
        if not delete:
            return True
        if finishing is not None:
            await asyncio.shield(finishing)
        if name in self.registry:  # it was added again meanwhile
            return True
        assert isinstance(self._transport, QueueDeleter)
        deleted = [await self._transport.delete_unused(queue) for queue in schema.queues]
        return not all(deleted)

    async def update(self, name: str, change: Callable[[ServiceSchema], ServiceSchema]) -> ServiceSchema:
        """Change limits of a service that live on this worker; return the service as it is now.

        Args:
            name: the service.
            change: returns the service with its new limits.

        Raises:
            ConfigurationError: there is no service of that name.
            RegistrationError: a limit is out of range, or contradicts another one. Nothing is changed.
            ConnectionLostError: the service could not be restarted with its new limits.
        """
        self._known(name)
        async with self._changing():
            schema = change(self._known(name))
            if schema.validate:
                validator(schema)
            if self.serving:
                await self._put(schema)
            else:
                self.registry.replace(schema)
        return schema

    def _known(self, name: str) -> ServiceSchema:
        schema = self.registry.get(name)
        if schema is None:
            raise unknown_service(name, self.registry)
        return schema

    @asynccontextmanager
    async def _changing(self) -> AsyncIterator[None]:
        """Change services, one task at a time; :meth:`stop` cancels what waits in here for a connection."""
        task = asyncio.current_task()
        assert task is not None
        self._changes.add(task)
        try:
            async with self.lock:
                yield
        finally:
            self._changes.discard(task)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let :meth:`wait_serving` raise what the block raises: whoever waits would do so for ever."""
        self._ended = None
        try:
            yield
        except InterruptedStartError:
            raise  # it was stopped, and may run again
        except Exception as error:
            self._ended = error
            raise

    async def wait_serving(self, names: Sequence[str]) -> None:
        """Wait until these services receive calls.

        Raises:
            ConfigurationError: there is no service of one of these names, or the broker refuses its queue.
            RabiBridgeError: it could not be started for another reason.
            Exception: what the server has ended with.
        """
        await self._wait_live(names, mendable=False)

    async def wait_started(self) -> None:
        """Wait until all services receive calls, as :meth:`wait_serving`, but go on while the broker refuses a queue.

        Where it refuses one after the services have started, that is tried again: somebody may mend it.
        """
        await self._wait_live([schema.name for schema in self.registry], mendable=True)

    async def _wait_live(self, names: Iterable[str], *, mendable: bool) -> None:
        for name in names:
            while not ((runner := self.runners.get(name)) is not None and runner.live):
                if name not in self.registry:
                    raise unknown_service(name, self.registry)
                if runner is None and (error := self._failures.get(name) or self._ended) is not None:
                    raise error
                if not mendable and runner is not None and runner.consumer is not None:
                    refusal = runner.consumer.error
                    if isinstance(refusal, ConfigurationError):  # any other one is over with the next connection
                        raise refusal
                await asyncio.sleep(_LIVE_INTERVAL)  # a transport does not tell when a consumer becomes live

    async def change(self, removed: Iterable[str], schemas: Iterable[ServiceSchema]) -> None:
        """Change services while they run: active requests finish, and other services are not affected.

        A service whose queue limits are unchanged gets its new handler from the next call on. A service that cannot be
        changed keeps running as before, if possible; the error is logged, and the other changes are made.

        Args:
            removed: names of services to stop; their queues stay on the broker.
            schemas: services to add or to change.
        """
        async with self._changing():
            for name in removed:
                await self._forget(name)
            ends = await side_by_side("changed", [self._change_one(schema) for schema in schemas])
            refusals(ends)  # raises what is no fault of a service

    async def _forget(self, name: str) -> asyncio.Task[int] | None:
        """Stop a service and forget it; return the task that finishes its active requests, if it ran."""
        self.registry.remove(name)
        self._failures.pop(name, None)
        self._statistics.pop(name, None)
        runner = self.runners.pop(name, None)
        return None if runner is None else await self._drop(runner)

    async def _change_one(self, schema: ServiceSchema) -> None:
        before = self.runners.get(schema.name)
        try:
            await self._put(self._completed(schema))
        except RabiBridgeError as error:
            self._failures[schema.name] = error
            if schema.name not in self.runners:
                _log.error(
                    "service %r cannot be started: %s", schema.name, error,
                    extra=log_fields("service.start_failed", service=schema.name, error=error),
                )  # fmt: skip
            else:
                _log.error(
                    "service %r cannot be changed: %s. Its version before serves on", schema.name, error,
                    extra=log_fields("service.change_failed", service=schema.name, error=error),
                )  # fmt: skip
        else:
            if before is not None:
                _log.info(
                    "service %r serves its new version", schema.name,
                    extra=log_fields("service.changed", service=schema.name),
                )  # fmt: skip
