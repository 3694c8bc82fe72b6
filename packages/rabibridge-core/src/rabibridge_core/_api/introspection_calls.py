"""Questions to the workers themselves: who is there, how they are, and what they serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rabibridge_core._client.introspection import Introspection

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from rabibridge_core._client.client import Client
    from rabibridge_core.introspection import Pong, Services, WorkerCalls, Workers

__all__ = ["IntrospectionCalls"]


class IntrospectionCalls:
    """``workers``, ``services``, ``ping`` and ``running_calls``."""

    _client: Client
    _introspection: Introspection | None = None

    @property
    def _asker(self) -> Introspection:
        if self._introspection is None or self._introspection.client is not self._client:
            self._introspection = Introspection(self._client)
        return self._introspection

    async def ping(self, worker: str | None = None, *, timeout: float | timedelta | None = None) -> tuple[Pong, ...]:
        """Ask the workers whether they are there.

        The question reaches a worker beside all calls: it takes no place of one, and is answered while all of them are
        taken. Answers are waited for until ``timeout``; or less long, once nothing was heard for a quarter of a second
        and all have answered that did the last time. With ``worker``, it ends with the first answer.

        Args:
            worker: the name of a worker, such as ``RMQServer@host:4711``, or its id; ``None``: all of them.
            timeout: how long to wait for answers, in seconds or as a timedelta; ``None``: 2 s.

        Returns:
            The answers, sorted by name; empty: nobody has answered.

        Raises:
            CallTimeoutError: the question could not be sent within the timeout.
            ConnectionLostError: the connection was lost meanwhile, or the client is not connected.
            ConfigurationError: the broker refuses what this client sends.
        """
        return await self._asker.ping(worker, timeout)

    async def workers(self, *, timeout: float | timedelta | None = None, services: Sequence[str] = ()) -> Workers:
        """Ask all workers how they are: process, event loop, memory, and the numbers of each service.

        Workers that serve and do not answer are found by the consumers of the queues of services: ``deaf`` of the
        result names the services. The services are those of the workers that have answered, those of which this client
        has heard before, and ``services``. It ends after ``timeout``; or less long, once nothing was heard for a
        quarter of a second and no worker is known that has not answered.

        Args:
            timeout: how long to wait for answers, in seconds or as a timedelta; ``None``: 2 s.
            services: services whose queues are looked at in any case.

        Raises:
            CallTimeoutError: the question could not be sent within the timeout.
            ConnectionLostError: the connection was lost meanwhile, or the client is not connected.
            ConfigurationError: the broker refuses what this client sends, or no service can have such a name.
        """
        return await self._asker.workers(timeout, services)

    async def services(self, name: str | None = None, *, timeout: float | timedelta | None = None) -> Services:
        """Ask all workers what they serve, and merge their answers: one entry for each service.

        Args:
            name: only the service of this name; ``None``: all.
            timeout: as in :meth:`workers`.

        Raises:
            RabiBridgeError: as :meth:`workers`.
        """
        return await self._asker.services(name, timeout)

    async def running_calls(
        self, worker: str | None = None, *, service: str | None = None, timeout: float | timedelta | None = None
    ) -> tuple[WorkerCalls, ...]:
        """Ask the workers what they run now: every call with its age, its caller, and where it is in the source.

        The stacks hold places in the source and no values. Of a call that waits in a thread or runs in a child process,
        its stacks there are told, too. A worker whose event loop is blocked does not answer; SIGUSR1 shows it
        in its log. Nobody is told of calls of services that it may not call, nor of stacks of services whose
        ``remote_traceback`` is ``"message"`` or ``"none"``.

        Args:
            worker: the name of a worker, such as ``RMQServer@host:4711``, or its id; ``None``: all of them.
            service: only calls of this service; ``None``: of all.
            timeout: how long to wait for answers, in seconds or as a timedelta; ``None``: 2 s. All workers that answer
                a ping, which goes before, are waited for: to ask child processes takes a second or more.

        Returns:
            The answers, sorted by name; empty: nobody has answered.

        Raises:
            RabiBridgeError: as :meth:`ping`; ``ConfigurationError`` also if no service can have such a name.
        """
        return await self._asker.running_calls(worker, service, timeout)
