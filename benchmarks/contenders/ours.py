"""RabiBridge, by its public API."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.contenders.base import RefusedError
from rabibridge import DeadlineTooShortError, QueueFullError, RMQClient, RMQServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.contenders.base import Caller, Service, Side


class _Client:
    def __init__(self, client: RMQClient, service: Service) -> None:
        self._client = client
        self._name = service.name
        self._timeout, self._timeouts = service.timeout, service.timeouts
        self._named = None
        if service.criticality is not None:
            self._named = client.options(criticality=service.criticality, timeout=service.timeout)
        self._idle_tasks = len(asyncio.all_tasks())

    async def call(self, x: Any) -> Any:
        try:
            if self._named is not None:
                return await self._named.remote_call(self._name, (x,))
            timeout = self._timeout if self._timeouts is None else self._timeouts(x)
            return await self._client.remote_call(self._name, (x,), timeout=timeout)
        except (QueueFullError, DeadlineTooShortError) as error:
            raise RefusedError from error

    def left(self) -> dict[str, int]:
        engine: Any = self._client._client
        channel = engine.calls.caller._channel
        return {
            "pending": self._client.pending,
            "unconfirmed": len(channel.unconfirmed),
            "armed": len(engine._deadlines),
            "tasks": len(asyncio.all_tasks()) - self._idle_tasks,
        }


class _Server:
    def __init__(self, server: RMQServer, service: Service) -> None:
        self._server = server
        self._name = service.name

    def left(self) -> dict[str, int]:
        service: Any = self._server._server.services[self._name]
        return {
            "in flight": service.active_requests,
            "unsettled": service.consumer.channel.unsettled,
            "armed": len(service._processor._deadlines),
            "tasks": sum("RequestProcessor.process" in repr(task.get_coro()) for task in asyncio.all_tasks()),
        }


@asynccontextmanager
async def serve(url: str, service: Service) -> AsyncIterator[Side]:
    server = RMQServer(url=url)
    bound = service.queue_size if service.classes is None else None
    server.add_service(
        service.function, bound, service.fetch_size, fetch_ahead=service.fetch_ahead, classes=service.classes,
        deadline_admission=service.deadline_admission, max_wait=service.max_wait,
    )  # fmt: skip
    async with server, asyncio.TaskGroup() as group:
        group.create_task(server.run_serve())
        yield _Server(server, service)
        server.stop()


@asynccontextmanager
async def caller(url: str, service: Service) -> AsyncIterator[Caller]:
    async with RMQClient(url=url) as client:
        yield _Client(client, service)
