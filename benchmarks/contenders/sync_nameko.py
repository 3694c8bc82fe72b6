"""nameko: its standalone proxy, one in each thread, since a proxy serves one thread at a time."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if "serve" in sys.argv:  # nameko serves on eventlet; its proxy is for programs without it
    import eventlet  # pyright: ignore[reportMissingImports]

    eventlet.monkey_patch()

from nameko.containers import ServiceContainer  # pyright: ignore[reportMissingImports]
from nameko.rpc import rpc  # pyright: ignore[reportMissingImports]
from nameko.standalone.rpc import ServiceRpcProxy  # pyright: ignore[reportMissingImports]

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.contenders.sync_base import Call, SyncClient


class _Service:
    name = "bench"

    @rpc  # type: ignore[untyped-decorator]
    def echo(self, x: Any) -> Any:
        return x


class _Client:
    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config

    @contextmanager
    def thread(self) -> Iterator[Call]:
        with ServiceRpcProxy("bench", self._config, timeout=10) as proxy:
            yield proxy.echo


def _config(url: str) -> dict[str, Any]:
    return {"AMQP_URI": url, "max_workers": 256}


def serve(url: str, ready: Callable[[], None]) -> None:
    container = ServiceContainer(_Service, _config(url))
    container.start()
    ready()
    container.wait()


@contextmanager
def client(url: str) -> Iterator[SyncClient]:
    yield _Client(_config(url))
