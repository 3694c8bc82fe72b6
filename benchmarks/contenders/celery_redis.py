"""Celery over Redis: ``delay().get()`` in threads, and a worker with a pool of threads in a process of its own."""

from __future__ import annotations

import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from celery import Celery  # pyright: ignore[reportMissingImports]
from celery.signals import worker_ready  # pyright: ignore[reportMissingImports]

from benchmarks.contenders.base import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from benchmarks.contenders.base import Caller, Side

_THREADS = 16
_PATIENCE = 60.0
_START_TIMEOUT = 240.0


def _app(url: str, service: Service) -> tuple[Any, Any]:
    app = Celery("bench", broker=url, backend=url, set_as_current=False)
    app.conf.update(
        worker_prefetch_multiplier=16, broker_connection_retry_on_startup=True, worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,  # the line by which the worker says that it is ready would go to the log
    )  # fmt: skip

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


def work(url: str) -> None:
    """Run a worker until it is killed; it prints a line when it is ready."""
    app, _ = _app(url, Service())
    worker_ready.connect(lambda **_: print("ready", flush=True), weak=False)
    options = ["--pool=threads", "--concurrency=16", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    app.worker_main(["--quiet", "worker", "--loglevel=ERROR", *options])


@asynccontextmanager
async def serve(url: str, service: Service) -> AsyncIterator[Side]:
    program = f"from {__name__} import work; work({url!r})"
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert worker.stdout is not None
    try:
        async with asyncio.timeout(_START_TIMEOUT):
            while (line := await worker.stdout.readline()) != b"ready\n":
                if not line:
                    raise RuntimeError(f"the worker of Celery ended with status {await worker.wait()}")
    except TimeoutError as error:
        worker.kill()
        raise RuntimeError(f"the worker of Celery was not ready within {_START_TIMEOUT:g} s") from error
    try:
        yield _Server()
    finally:
        worker.kill()
        await worker.wait()


@asynccontextmanager
async def caller(url: str, service: Service) -> AsyncIterator[Caller]:
    with ThreadPoolExecutor(_THREADS) as threads:
        yield _Client(url, service, threads)
