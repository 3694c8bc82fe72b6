"""Questions to the workers themselves, from threads without an event loop."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from datetime import timedelta

    from rabibridge_core._api.client import RpcClient
    from rabibridge_core.introspection import Pong, Services, WorkerCalls, Workers

__all__ = ["SyncIntrospectionCalls"]

T = TypeVar("T")


class ToOneBroker(Protocol):
    """A connection to one broker."""

    def run(self, function: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        """Run a coroutine on its loop."""
        ...

    async def connected_client(self) -> RpcClient:
        """Connect, if that is needed, and return the client."""
        ...


class SyncIntrospectionCalls:
    """``workers``, ``services``, ``ping`` and ``running_calls``."""

    @property
    @abstractmethod
    def _here(self) -> ToOneBroker:
        """The connection of this process."""

    def ping(self, worker: str | None = None, *, timeout: float | timedelta | None = None) -> tuple[Pong, ...]:
        """Ask the workers whether they are there, and wait for their answers.

        It is what :meth:`RpcClient.ping` is.

        Args:
            worker: the name of a worker, or its id; ``None``: all of them.
            timeout: how long to wait for answers, in seconds or as a timedelta; ``None``: 2 s. The time to connect, if
                that is needed, comes on top.

        Raises:
            RabiBridgeError: as :meth:`RpcClient.ping` and :meth:`connect`.
        """
        connection = self._here

        async def ask() -> tuple[Pong, ...]:
            return await (await connection.connected_client()).ping(worker, timeout=timeout)

        return connection.run(ask)

    def workers(self, *, timeout: float | timedelta | None = None, services: Sequence[str] = ()) -> Workers:
        """Ask all workers how they are, and wait for their answers.

        It is what :meth:`RpcClient.workers` is.

        Args:
            timeout: as in :meth:`ping`.
            services: services whose queues are looked at in any case.

        Raises:
            RabiBridgeError: as :meth:`RpcClient.workers` and :meth:`connect`.
        """
        connection = self._here

        async def ask() -> Workers:
            return await (await connection.connected_client()).workers(timeout=timeout, services=services)

        return connection.run(ask)

    def services(self, name: str | None = None, *, timeout: float | timedelta | None = None) -> Services:
        """Ask all workers what they serve, wait, and merge their answers.

        It is what :meth:`RpcClient.services` is.

        Args:
            name: only the service of this name; ``None``: all.
            timeout: as in :meth:`ping`.

        Raises:
            RabiBridgeError: as :meth:`RpcClient.services` and :meth:`connect`.
        """
        connection = self._here

        async def ask() -> Services:
            return await (await connection.connected_client()).services(name, timeout=timeout)

        return connection.run(ask)

    def running_calls(
        self, worker: str | None = None, *, service: str | None = None, timeout: float | timedelta | None = None
    ) -> tuple[WorkerCalls, ...]:
        """Ask the workers what they run now, and wait for their answers.

        It is what :meth:`RpcClient.running_calls` is.

        Args:
            worker: the name of a worker, or its id; ``None``: all of them.
            service: only calls of this service; ``None``: of all.
            timeout: as in :meth:`ping`.

        Raises:
            RabiBridgeError: as :meth:`RpcClient.running_calls` and :meth:`connect`.
        """
        connection = self._here

        async def ask() -> tuple[WorkerCalls, ...]:
            return await (await connection.connected_client()).running_calls(worker, service=service, timeout=timeout)

        return connection.run(ask)
