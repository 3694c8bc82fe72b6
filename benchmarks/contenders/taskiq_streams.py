"""taskiq with taskiq-redis: a stream and its result backend, a receiver in the process of the server."""

# pyright: reportMissingImports=false
from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from taskiq.api import run_receiver_task
from taskiq_redis import (
    RedisAsyncResultBackend,
    RedisStreamBroker,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.contenders.base import Caller, Service, Side

_POLL = 0.1
_KEPT = 60


class _Client:
    def __init__(self, task: Any, service: Service) -> None:
        self._task = task
        self._timeout = service.timeout

    async def call(self, x: Any) -> Any:
        sent = await self._task.kiq(x)
        result = await sent.wait_result(check_interval=_POLL, timeout=self._timeout)
        return result.return_value

    def left(self) -> dict[str, int]:
        return {}


def _broker(url: str, service: Service) -> tuple[Any, Any]:
    results = RedisAsyncResultBackend(redis_url=url, result_ex_time=_KEPT)
    broker = RedisStreamBroker(url=url, xread_count=service.fetch_size).with_result_backend(results)
    return broker, broker.register_task(service.function, task_name=service.name)


@asynccontextmanager
async def serve(url: str, service: Service) -> AsyncIterator[Side]:
    broker, task = _broker(url, service)
    broker.is_worker_process = True
    working = asyncio.create_task(
        run_receiver_task(broker, run_startup=True, max_async_tasks=service.fetch_size, max_prefetch=service.fetch_size)
    )
    yield _Client(task, service)
    working.cancel()
    await asyncio.wait((working,))
    await broker.shutdown()


@asynccontextmanager
async def caller(url: str, service: Service) -> AsyncIterator[Caller]:
    broker, task = _broker(url, service)
    await broker.startup()
    try:
        yield _Client(task, service)
    finally:
        await broker.shutdown()
