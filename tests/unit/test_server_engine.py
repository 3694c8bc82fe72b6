"""The server engine: its health, its defaults, and the service that a task belongs to."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core._client.client import Client
from rabibridge_core._client.options import CallOptions
from rabibridge_core._codec.codec import Codec
from rabibridge_core._server.server import Server
from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import ConnectionLostError
from rabibridge_core.plugins.call_hooks import CallHooks
from rabibridge_core.plugins.manager import PluginManager
from rabibridge_core.transport import ConnectionState
from rabibridge_testing._memory.broker import MemoryBroker
from tests.unit.scripted_requests import PATIENCE, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rabibridge_core.transport import QueueType


async def first() -> int:
    return 1


async def second() -> int:
    return 2


def _schema(func: Any, **options: Any) -> ServiceSchema:
    return ServiceSchema.of(func, ServiceLimits(**options))


def _server(broker: MemoryBroker, queue_type: QueueType = "classic") -> Server:
    return Server(
        broker.transport("server"), Codec(), hooks=CallHooks(PluginManager()), drain_timeout=1.0, name="server",
        queue_type=queue_type,
    )  # fmt: skip


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker("unit")


@pytest.fixture
async def server(broker: MemoryBroker) -> AsyncIterator[Server]:
    server = _server(broker)
    yield server
    await server.close()


async def test_it_is_healthy_only_while_it_serves_everything(server: Server) -> None:
    server.add(_schema(first))
    assert not server.health()
    assert server.health().state is ConnectionState.IDLE
    await server.connect()
    health = server.health()
    assert (health.ok, health.state) == (False, ConnectionState.READY)
    assert "run_serve()" in health.reasons[0]
    running = asyncio.create_task(server.run())
    await until(server.health)
    assert server.health().reasons == ()
    server.stop()
    assert "stopping" in server.health().reasons[0]
    await asyncio.wait_for(running, PATIENCE)
    assert not server.health()
    await server.close()
    assert server.health().state is ConnectionState.CLOSED
    assert len(server.health().reasons) == 2


async def test_a_service_that_cannot_be_served_is_named(broker: MemoryBroker, server: Server) -> None:
    other = broker.transport("other")
    await other.connect()
    await other.declare(_schema(second, queue_size=5).queue)
    server.add(_schema(first))
    await server.connect()
    running = asyncio.create_task(server.run())
    await until(server.health)
    server.add(_schema(second))
    await until(lambda: "queue_size" in str(server.health().reasons) or "limits" in str(server.health().reasons))
    (reason,) = server.health().reasons
    assert reason.startswith("service 'second' receives no calls: ")
    await server.change(["second"], [])
    assert server.health()
    server.stop()
    await asyncio.wait_for(running, PATIENCE)
    await other.close()


async def test_the_queue_type_of_services_that_name_none(broker: MemoryBroker) -> None:
    server = _server(broker, "quorum")
    plain = _schema(first)
    offered = server.add(plain)
    assert offered.queue.queue_type == "quorum"
    assert server.add(plain) == offered  # adding it again does no harm
    assert server.add(_schema(second, queue_type="classic")).queue.queue_type == "classic"
    assert [schema.queue_type for schema in server.registry] == ["quorum", "classic"]
    await server.close()


async def test_whose_handler_a_task_runs(broker: MemoryBroker, server: Server) -> None:
    tasks: list[asyncio.Task[Any]] = []
    release = asyncio.Event()

    async def work() -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        await release.wait()

    server.add(_schema(work))
    await server.connect()
    running = asyncio.create_task(server.run())
    await until(server.health)
    hooks = CallHooks(PluginManager())
    client = Client(broker.transport("client"), Codec(), hooks=hooks, name="client")
    await client.connect()
    call = asyncio.create_task(client.call("work", (), {}, CallOptions("any", PATIENCE)))
    await until(lambda: tasks)
    assert server.services.service_of(tasks[0]) == "work"
    assert server.services.service_of(running) is None
    release.set()
    await call
    await client.close()
    server.stop()
    await asyncio.wait_for(running, PATIENCE)


async def test_a_handler_that_blocks_the_loop_of_a_server_is_named(broker: MemoryBroker, server: Server) -> None:
    noticed = threading.Event()

    class Seen(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "handler of service 'greedy' has blocked the event loop" in record.getMessage():
                noticed.set()

    async def greedy() -> bool:
        return noticed.wait(PATIENCE)

    server.add(_schema(greedy))
    await server.connect()
    running = asyncio.create_task(server.run())
    await until(server.health)
    client = Client(broker.transport("client"), Codec(), hooks=CallHooks(PluginManager()), name="client")
    await client.connect()
    seen, logger = Seen(), logging.getLogger("rabibridge_core._observability.loop_monitor")
    logger.addHandler(seen)
    try:
        assert await client.call("greedy", (), {}, CallOptions("any", PATIENCE))
    finally:
        logger.removeHandler(seen)
    await client.close()
    server.stop()
    await asyncio.wait_for(running, PATIENCE)


async def test_a_server_that_is_closed_says_so(server: Server) -> None:
    await server.close()
    with pytest.raises(ConnectionLostError, match="closed"):
        await server.connect()
