"""Celery over Redis: ``delay().get()`` in threads, and a worker with a pool of threads in the process of the server."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from celery import Celery  # pyright: ignore[reportMissingImports]

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.contenders.base import Caller, Service, Side

_THREADS = 16
_READY_TIMEOUT = _PATIENCE = 60.0


def _app(url: str, service: Service) -> tuple[Any, Any]:
    app = Celery("bench", broker=url, backend=url, set_as_current=False)
    app.conf.update(
        worker_prefetch_multiplier=16, broker_connection_retry_on_startup=True, worker_hijack_root_logger=False
    )

    @app.task(name=f"bench.{service.name}")  # type: ignore[untyped-decorator]
    def echo(x: Any) -> Any:
        return x

    return app, echo


class _Client:
    def __init__(self, url: str, service: Service, threads: ThreadPoolExecutor) -> None:
        self._url, self._service, self._threads = url, service, threads
        self._of_thread = threading.local()  # threads that share an app lose results of each other

    async def call(self, x: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._call, x)

    def _call(self, x: Any) -> Any:
        if not hasattr(self._of_thread, "echo"):
            self._of_thread.app, self._of_thread.echo = _app(self._url, self._service)
        return self._of_thread.echo.delay(x).get(timeout=_PATIENCE)

    def left(self) -> dict[str, int]:
        return {}


class _Server:
    def left(self) -> dict[str, int]:
        return {}


@asynccontextmanager
async def serve(url: str, service: Service) -> AsyncIterator[Side]:
    app, _ = _app(url, service)
    ready = threading.Event()
    worker = app.WorkController(
        pool_cls="threads", concurrency=16, without_gossip=True, without_mingle=True, without_heartbeat=True,
        ready_callback=lambda _: ready.set(),
    )  # fmt: skip
    threading.Thread(target=worker.start, daemon=True).start()
    if not await asyncio.to_thread(ready.wait, _READY_TIMEOUT):
        raise RuntimeError("the worker of Celery did not start")
    yield _Server()
    worker.stop()


@asynccontextmanager
async def caller(url: str, service: Service) -> AsyncIterator[Caller]:
    with ThreadPoolExecutor(_THREADS) as threads:
        yield _Client(url, service, threads)
