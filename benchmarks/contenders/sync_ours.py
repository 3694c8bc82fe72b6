"""RabiBridge, by its synchronous client: one for all threads."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import uvloop

from rabibridge import RMQServer
from rabibridge.sync import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.contenders.sync_base import Call, SyncClient


class _Client:
    def __init__(self, client: Client) -> None:
        self._client = client

    @contextmanager
    def thread(self) -> Iterator[Call]:
        client = self._client

        def call(x: Any) -> Any:
            return client.remote_call("echo", (x,), timeout=10.0)

        yield call


def serve(url: str, ready: Callable[[], None]) -> None:
    async def echo(x: Any) -> Any:
        return x

    async def run() -> None:
        server = RMQServer(url=url)
        server.add_service(echo, queue_size=10_000, fetch_size=256)
        async with server:
            ready()
            await server.run_serve()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@contextmanager
def client(url: str) -> Iterator[SyncClient]:
    with Client(url=url) as connected:
        yield _Client(connected)
