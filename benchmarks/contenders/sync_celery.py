"""Celery: ``delay().get()`` with results over RabbitMQ (``rpc://``), and a worker with a pool of threads."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery import Celery  # pyright: ignore[reportMissingImports]
from celery.signals import worker_ready  # pyright: ignore[reportMissingImports]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.contenders.sync_base import Call, SyncClient


def _app(url: str) -> tuple[Any, Any]:
    app = Celery("bench", broker=url, backend="rpc://", set_as_current=False)
    app.conf.update(worker_prefetch_multiplier=16, broker_connection_retry_on_startup=True, broker_pool_limit=32)

    @app.task(name="bench.echo")  # type: ignore[untyped-decorator]
    def echo(x: Any) -> Any:
        return x

    return app, echo


class _Client:
    def __init__(self, url: str) -> None:
        self._url = url

    @contextmanager
    def thread(self) -> Iterator[Call]:
        app, echo = _app(self._url)  # threads that share one lose results of each other

        def call(x: Any) -> Any:
            return echo.delay(x).get(timeout=10)

        with app:
            yield call


def serve(url: str, ready: Callable[[], None]) -> None:
    app, _ = _app(url)
    worker_ready.connect(lambda **_: ready(), weak=False)
    options = ["--pool=threads", "--concurrency=16", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    app.worker_main(["--quiet", "worker", "--loglevel=ERROR", *options])


@contextmanager
def client(url: str) -> Iterator[SyncClient]:
    yield _Client(url)
