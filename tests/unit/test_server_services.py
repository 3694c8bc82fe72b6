"""Services that are added to, changed on and removed from a server while it serves."""

from __future__ import annotations

import asyncio
import logging
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from rabibridge_core._services.limits import ServiceLimits
from rabibridge_core._services.schema import ServiceSchema
from rabibridge_core.errors import ConfigurationError, NoRouteError, RegistrationError
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_testing import MemoryBroker
from tests.support.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import Any


def _function(name: str, result: Any = 0) -> Callable[..., Any]:
    async def function() -> Any:
        return result

    function.__name__ = name
    return function


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


@asynccontextmanager
async def _serving(broker: MemoryBroker, *functions: Callable[..., Any]) -> AsyncIterator[tuple[RpcServer, RpcClient]]:
    server = RpcServer(transport=broker.transport("server"))
    for function in functions:
        server.add_service(function)
    async with server, RpcClient(transport=broker.transport("client")) as client:
        running = asyncio.create_task(server.run_serve(signals=False))
        await soon(server.wait_serving())
        yield server, client
        server.stop()
        await soon(running)


async def test_one_that_is_added_can_be_awaited(broker: MemoryBroker) -> None:
    async with _serving(broker, _function("one")) as (server, client):
        schema = server.add_service(_function("two", 2))
        await soon(server.wait_serving(schema.name))
        assert await soon(client.remote_call("two")) == 2
        assert server.health()


async def test_one_that_is_removed_gets_no_more_calls_and_may_be_added_again(broker: MemoryBroker) -> None:
    started, end = asyncio.Event(), asyncio.Event()

    async def slow() -> str:
        started.set()
        await end.wait()
        return "finished"

    async with _serving(broker, slow, _function("other")) as (server, client):
        call = asyncio.create_task(client.remote_call("slow"))
        await soon(started.wait())
        await soon(server.remove_service("slow"))
        assert [schema.name for schema in server.services] == ["other"]
        assert server.health()
        waiting = asyncio.create_task(client.remote_call("slow"))
        end.set()
        assert await soon(call) == "finished"  # it was in flight
        assert not waiting.done()  # its queue is still there
        server.add_service(slow)
        assert await soon(waiting) == "finished"
        with pytest.raises(ConfigurationError, match=r"'missing'.*slow"):
            await server.remove_service("missing")


async def test_one_is_removed_before_the_server_serves(broker: MemoryBroker) -> None:
    server = RpcServer(transport=broker.transport("server"))
    server.add_service(_function("one"))
    await server.remove_service("one")
    assert server.services == ()


async def test_another_thread_may_not_add_one_and_nothing_is_registered(broker: MemoryBroker) -> None:
    raised: list[Exception] = []

    async with _serving(broker, _function("one")) as (server, client):
        function = _function("two", 2)

        def add() -> None:
            try:
                server.add_service(function)
            except ConfigurationError as error:
                raised.append(error)

        thread = threading.Thread(target=add)
        thread.start()
        await asyncio.to_thread(thread.join)
        assert "loop" in str(raised[0])
        assert [schema.name for schema in server.services] == ["one"]
        assert server.health()
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(lambda: loop.call_soon_threadsafe(server.add_service, function))
        await until(lambda: len(server.services) == 2)
        await soon(server.wait_serving("two"))
        assert await soon(client.remote_call("two")) == 2


async def test_one_that_the_broker_refuses_can_be_added_with_other_limits(broker: MemoryBroker) -> None:
    other = RpcServer(transport=broker.transport("other"))
    other.add_service(_function("limited"), queue_size=5)
    async with other, _serving(broker, _function("one")) as (server, client):
        function = _function("limited", "served")
        server.add_service(function, queue_size=6)
        with pytest.raises(ConfigurationError, match="queue_size is 5 on the broker, 6 here"):
            await soon(server.wait_serving("limited"))
        (reason,) = server.health().reasons
        assert "queue_size is 5" in reason
        server.add_service(function, queue_size=5)
        await soon(server.wait_serving("limited"))
        assert await soon(client.remote_call("limited")) == "served"
        assert server.health()
        with pytest.raises(RegistrationError):
            server.add_service(function, queue_size=6)  # that one serves


async def test_re_register_beside_another_worker_leaves_both_as_they_are(
    broker: MemoryBroker, caplog: pytest.LogCaptureFixture
) -> None:
    async with _serving(broker, _function("one")) as (other, client):
        other.add_service(_function("limited", "before"), queue_size=5)
        await soon(other.wait_serving("limited"))
        newer = RpcServer(transport=broker.transport("newer"))
        newer.add_service(_function("limited", "after"), queue_size=6, re_register=True)
        with pytest.raises(ConfigurationError, match=r"1 worker serves it; nothing was deleted") as refused:
            await soon(newer.connect())
        assert refused.value.__cause__ is None
        assert await soon(client.remote_call("limited")) == "before"
        await soon(newer.close())
        await soon(other.remove_service("limited"))
        newest = RpcServer(transport=broker.transport("newest"))
        newest.add_service(_function("limited", "after"), queue_size=6, re_register=True)
        async with newest:
            assert broker.queues["rpc_async_limited"].spec.queue_size == 6


async def test_waiting_for_one_that_is_not_there(broker: MemoryBroker) -> None:
    async with _serving(broker, _function("one")) as (server, client):
        with pytest.raises(ConfigurationError, match="'missing'"):
            await soon(server.wait_serving("missing"))
        with pytest.raises(NoRouteError):
            await client.remote_call("missing")


async def test_many_are_told_by_number_and_their_names_at_debug(
    broker: MemoryBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rabibridge_core")
    functions = [_function(f"service_{number}", number) for number in range(500)]
    async with _serving(broker, *functions) as (_, client):
        assert await soon(client.remote_call("service_499")) == 499
        await until(lambda: any("serves 500 services" in record.getMessage() for record in caplog.records))
    long = [record for record in caplog.records if len(record.getMessage()) > 1000]
    assert {record.levelno for record in long} == {logging.DEBUG}


async def test_the_last_line_about_a_change_that_is_refused_says_what_serves(
    broker: MemoryBroker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "rabibridge_core")
    before, after = _function("changing", "before"), _function("changing", "after")
    async with _serving(broker, _function("one")) as (server, client):
        server.add_service(before, queue_size=5)
        await soon(server.wait_serving("changing"))
        for re_register in (False, True):  # another worker serves the queue in the second case
            limits = ServiceLimits(queue_size=6, re_register=re_register)
            async with _also_serving(broker, before):
                await soon(server._server.change([], [ServiceSchema.of(after, limits)]))
            assert _last_line(caplog).endswith("Its version before serves on")
            await soon(server.wait_serving("changing"))
            assert await soon(client.remote_call("changing")) == "before"
            assert server.health()
        limits = ServiceLimits(queue_size=6, re_register=True)
        await soon(server._server.change([], [ServiceSchema.of(after, limits)]))
        assert _last_line(caplog) == "service 'changing' serves its new version"
        assert await soon(client.remote_call("changing")) == "after"


def _last_line(caplog: pytest.LogCaptureFixture) -> str:
    """Return the last line about one service; another server may say meanwhile how many it serves."""
    lines = [record.getMessage() for record in caplog.records if record.name == "rabibridge_core._server.service_set"]
    return [line for line in lines if line.startswith("service ")][-1]


@asynccontextmanager
async def _also_serving(broker: MemoryBroker, function: Callable[..., Any]) -> AsyncIterator[None]:
    """Serve a function with the limits of its queue in another server."""
    server = RpcServer(transport=broker.transport("other"))
    server.add_service(function, queue_size=5)
    async with server:
        running = asyncio.create_task(server.run_serve(signals=False))
        await soon(server.wait_serving())
        yield
        server.stop()
        await soon(running)
