"""How long a server takes from connecting until it serves many services, on RabbitMQ, beside the broker alone.

"The broker alone" is the same ten operations for each service, encoded before and written in one piece: the least that
the broker takes for them. Compare the two in one run, on a machine that does nothing else: the server needs 1.3 s of
CPU for 1,500 services, the broker 3 s for existing queues and 8 s for new ones, of two cores. On commit 79a8948, which
waited for each answer before it asked for the next service, they took 24 s on the machine of docs/performance.md.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.raw_start import RawWorker
from rabibridge import RMQServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tools.broker import Broker

_SERVICES = 1500
_TIMEOUT = 300.0


def _service(name: str) -> Callable[[], Any]:
    async def service() -> None: ...

    service.__name__ = name
    return service


@pytest.fixture
def quiet(rabbitmq: Broker, vhost_url: str) -> Callable[[], None]:
    """Wait until the broker has removed what the last connection has left behind, which it does for seconds."""

    def wait() -> None:
        vhost = vhost_url.rsplit("/", 1)[1]
        deadline = time.monotonic() + _TIMEOUT
        while "true" in rabbitmq.ctl("list_queues", "-p", vhost, "exclusive"):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    return wait


_kinds = pytest.mark.parametrize("existing", [False, True], ids=["new queues", "existing queues"])


def _names(existing: bool, rounds: Iterator[int]) -> list[str]:
    prefix = "service" if existing else f"round_{next(rounds)}"
    return [f"{prefix}_{number}" for number in range(_SERVICES)]


@pytest.mark.benchmark(group=f"RabbitMQ, start of {_SERVICES} services")
@_kinds
def test_start_of_many_services(
    benchmark: Any, runner: asyncio.Runner, vhost_url: str, existing: bool, quiet: Callable[[], None]
) -> None:
    rounds = itertools.count()

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
        quiet()
        server = RMQServer(url=vhost_url)
        for name in _names(existing, rounds):
            server.add_service(_service(name), fetch_size=1)
        servers[:] = [server]
        return (server,), {}

    benchmark.pedantic(lambda server: runner.run(start(server)), setup=set_up, rounds=3, warmup_rounds=int(existing))
    runner.run(stop(servers[0]))


@pytest.mark.benchmark(group=f"RabbitMQ, start of {_SERVICES} services")
@_kinds
def test_the_broker_alone(benchmark: Any, vhost_url: str, existing: bool, quiet: Callable[[], None]) -> None:
    rounds = itertools.count()
    workers: list[RawWorker] = []

    def set_up() -> tuple[tuple[RawWorker], dict[str, Any]]:
        for worker in workers:
            worker.close()
        quiet()
        worker = RawWorker(vhost_url, _names(existing, rounds))
        workers[:] = [worker]
        return (worker,), {}

    benchmark.pedantic(lambda worker: worker.start(), setup=set_up, rounds=3, warmup_rounds=int(existing))
    workers[0].close()
