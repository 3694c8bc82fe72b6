"""arq: jobs in a sorted set of Redis, a worker in the process of the server; both poll more often than by default."""

# pyright: reportMissingImports=false
from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from arq import create_pool, func
from arq.connections import RedisSettings
from arq.worker import Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.contenders.base import Caller, Service, Side

_POLL = 0.1


class _Client:
    def __init__(self, pool: Any, service: Service) -> None:
        self._pool = pool
        self._service = service

    async def call(self, x: Any) -> Any:
        job = await self._pool.enqueue_job(self._service.name, x)
        return await job.result(timeout=self._service.timeout, poll_delay=_POLL)

    def left(self) -> dict[str, int]:
        return {}


class _Server:
    def left(self) -> dict[str, int]:
        return {}


@asynccontextmanager
async def serve(url: str, service: Service) -> AsyncIterator[Side]:
    async def answer(_: Any, x: Any) -> Any:
        return await service.function(x)

    worker = Worker(
        [func(answer, name=service.name)], redis_settings=RedisSettings.from_dsn(url), max_jobs=service.fetch_size,
        poll_delay=_POLL, handle_signals=False,
    )  # fmt: skip
    working = asyncio.create_task(worker.async_run())
    yield _Server()
    working.cancel()
    await asyncio.wait((working,))
    await worker.close()


@asynccontextmanager
async def caller(url: str, service: Service) -> AsyncIterator[Caller]:
    pool = await create_pool(RedisSettings.from_dsn(url))
    try:
        yield _Client(pool, service)
    finally:
        await pool.aclose()
