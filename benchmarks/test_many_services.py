"""How long a server takes from connecting until it serves many services, on RabbitMQ.

Declarations and consumers of different services are in flight side by side. On commit 79a8948, which waited for each
answer before it asked for the next service, 1,500 services took 24 s on the machine of docs/performance.md.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import RMQServer

if TYPE_CHECKING:
    from collections.abc import Callable

_SERVICES = 1500
_TIMEOUT = 300.0


def _service(name: str) -> Callable[[], Any]:
    async def service() -> None: ...

    service.__name__ = name
    return service


@pytest.mark.benchmark(group=f"RabbitMQ, start of {_SERVICES} services")
@pytest.mark.parametrize("existing", [False, True], ids=["new queues", "existing queues"])
def test_start_of_many_services(benchmark: Any, runner: asyncio.Runner, vhost_url: str, existing: bool) -> None:
    rounds = itertools.count()

    def make() -> tuple[tuple[RMQServer], dict[str, Any]]:
        server = RMQServer(url=vhost_url)
        prefix = "service" if existing else f"round_{next(rounds)}"
        for number in range(_SERVICES):
            server.add_service(_service(f"{prefix}_{number}"), fetch_size=1)
        return (server,), {}

    async def start(server: RMQServer) -> None:
        await server.connect()
        running.append(asyncio.create_task(server.run_serve(signals=False)))
        async with asyncio.timeout(_TIMEOUT):
            await server.wait_serving()

    async def stop(server: RMQServer) -> None:
        server.stop()
        await running.pop()
        await server.close()

    running: list[asyncio.Task[None]] = []
    servers: list[RMQServer] = []

    def set_up() -> tuple[tuple[RMQServer], dict[str, Any]]:
        for server in servers:
            runner.run(stop(server))
        args, kwargs = make()
        servers[:] = args
        return args, kwargs

    benchmark.pedantic(lambda server: runner.run(start(server)), setup=set_up, rounds=3, warmup_rounds=int(existing))
    runner.run(stop(servers[0]))
