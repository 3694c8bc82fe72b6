"""``async with server.serving():`` begins with a server that serves, and ends with it, whatever happens inside."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from rabibridge_core import ConfigurationError, ConnectionLostError, ConnectionState
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_testing import MemoryBroker, forget_broker
from tests.support.waiting import PATIENCE, soon, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from rabibridge_testing._memory.transport import MemoryTransport


async def add(left: int, right: int) -> int:
    return left + right


@pytest.fixture
def broker() -> MemoryBroker:
    return MemoryBroker()


def make_server(broker: MemoryBroker) -> RpcServer:
    server = RpcServer(transport=broker.transport())
    server.add_service(add)
    return server


class BrokenTransport:
    """A memory transport that gives up when it is told to, as one does whose broker refuses it for good."""

    def __init__(self, inner: MemoryTransport) -> None:
        self._inner = inner
        self.broken = asyncio.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    async def wait_closed(self) -> None:
        await self.broken.wait()
        raise ConnectionLostError("given up")


def breakable(broker: MemoryBroker) -> tuple[RpcServer, BrokenTransport]:
    transport = BrokenTransport(broker.transport())
    server = RpcServer(transport=transport)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    server.add_service(add)
    return server, transport


async def in_block(server: RpcServer, body: Callable[[], Awaitable[object]]) -> None:
    async with server.serving():
        await body()


async def test_calls_are_answered_in_the_block_and_the_server_is_closed_after_it(broker: MemoryBroker) -> None:
    server = make_server(broker)
    async with server.serving() as same, RpcClient(transport=broker.transport()) as client:
        assert same is server
        assert server.health()
        assert await client.remote_call("add", (1, 2), timeout=PATIENCE) == 3
    assert server.state is ConnectionState.CLOSED


async def test_a_server_that_was_connected_stays_connected(broker: MemoryBroker) -> None:
    async with make_server(broker) as server:
        for _ in range(2):
            async with server.serving():
                assert server.health()
            assert server.state is ConnectionState.READY
            assert not server.health()


async def test_a_call_in_flight_is_finished_when_the_block_is_left(broker: MemoryBroker) -> None:
    began = asyncio.Event()

    async def slow() -> str:
        began.set()
        await asyncio.sleep(0.2)
        return "done"

    server = make_server(broker)
    server.add_service(slow)
    async with RpcClient(transport=broker.transport()) as client:
        async with server.serving():
            call = asyncio.create_task(client.remote_call("slow", timeout=PATIENCE))
            await soon(began.wait())
        assert call.done()
        assert await call == "done"


async def test_an_exception_of_the_block_stops_the_server(broker: MemoryBroker) -> None:
    async def body() -> None:
        raise ZeroDivisionError

    server = make_server(broker)
    with pytest.raises(ZeroDivisionError):
        await in_block(server, body)
    assert server.state is ConnectionState.CLOSED


async def test_an_error_of_serving_ends_the_block(broker: MemoryBroker) -> None:
    server, transport = breakable(broker)
    reached: list[str] = []

    async def body() -> None:
        transport.broken.set()
        await asyncio.sleep(PATIENCE)
        reached.append("end")

    with pytest.raises(ConnectionLostError, match="given up"):
        await in_block(server, body)
    assert not reached
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    await asyncio.sleep(0)  # no cancellation is left over


async def test_an_error_of_serving_is_raised_although_the_block_ignores_it(broker: MemoryBroker) -> None:
    server, transport = breakable(broker)

    async def body() -> None:
        transport.broken.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(PATIENCE)

    with pytest.raises(ConnectionLostError, match="given up"):
        await in_block(server, body)
    await asyncio.sleep(0)


async def test_an_error_of_serving_and_one_of_the_block_are_both_raised(broker: MemoryBroker) -> None:
    server, transport = breakable(broker)

    async def body() -> None:
        transport.broken.set()
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            raise ZeroDivisionError from None

    with pytest.raises(ExceptionGroup) as raised:
        await in_block(server, body)
    assert [type(error) for error in raised.value.exceptions] == [ConnectionLostError, ZeroDivisionError]


async def test_a_cancellation_from_outside_stays_one(broker: MemoryBroker) -> None:
    server, inside = make_server(broker), asyncio.Event()

    async def host() -> None:
        async with server.serving():
            inside.set()
            await asyncio.sleep(PATIENCE)

    task = asyncio.create_task(host())
    await soon(inside.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await soon(task)
    assert server.state is ConnectionState.CLOSED


async def test_a_second_cancellation_does_not_wait_for_the_calls_in_flight(broker: MemoryBroker) -> None:
    began = asyncio.Event()

    async def endless() -> None:
        began.set()
        await asyncio.sleep(10 * PATIENCE)

    server = make_server(broker)
    server.add_service(endless)

    async def host() -> None:
        async with server.serving(), RpcClient(transport=broker.transport()) as client:
            await client.remote_call("endless")

    task = asyncio.create_task(host())
    await soon(began.wait())
    client = RpcClient(transport=broker.transport())
    async with client:
        call = asyncio.create_task(client.remote_call("endless", timeout=PATIENCE))
        await until(lambda: server._server.active_requests == 2)
        task.cancel()
        await until(lambda: server._server.stopping)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await soon(task)
        call.cancel()
    assert server.state is ConnectionState.CLOSED


async def test_a_server_that_is_stopped_leaves_the_block_running(broker: MemoryBroker) -> None:
    server = make_server(broker)
    async with server.serving():
        server.stop()
        await until(lambda: not server.health())
        await asyncio.sleep(0.01)
    assert server.state is ConnectionState.CLOSED


async def test_a_broker_that_cannot_be_reached_is_an_error_at_once(broker: MemoryBroker) -> None:
    broker.refuse_connections()
    server = make_server(broker)
    with pytest.raises(ConnectionLostError):
        await server.serving().__aenter__()
    assert server.state is ConnectionState.CLOSED


async def test_a_queue_that_is_refused_is_an_error_before_the_block(broker: MemoryBroker) -> None:
    async with RpcServer(transport=broker.transport()) as other:
        other.add_service(add, queue_size=1)
        async with other.serving():
            pass
    server = make_server(broker)
    with pytest.raises(ConfigurationError, match="queue_size"):
        await server.serving().__aenter__()
    assert server.state is ConnectionState.CLOSED


async def test_a_server_serves_once_at_a_time(broker: MemoryBroker) -> None:
    server = make_server(broker)
    async with server.serving():
        with pytest.raises(ConfigurationError, match="already running"):
            await server.serving().__aenter__()
        assert server.health()


async def test_a_block_is_entered_once_and_the_server_serves_again_in_another(broker: MemoryBroker) -> None:
    server = RpcServer(url="memory://blocks")
    server.add_service(add)
    for _ in range(2):
        block = server.serving()
        async with block:
            assert server.health()
        with pytest.raises(RuntimeError, match="call it again"):
            await block.__aenter__()
    forget_broker("blocks")


async def test_a_server_may_begin_and_go_on_without_a_service(broker: MemoryBroker) -> None:
    server = RpcServer(transport=broker.transport())
    async with server.serving(), RpcClient(transport=broker.transport()) as client:
        for _ in range(2):
            server.add_service(add)
            await soon(server.wait_serving())
            assert await client.remote_call("add", (1, 2), timeout=PATIENCE) == 3
            await server.remove_service("add")
            assert server.health()


async def test_it_may_be_left_in_another_task(broker: MemoryBroker) -> None:
    server, transport = breakable(broker)
    block = server.serving()
    await asyncio.create_task(block.__aenter__())
    assert server.health()
    transport.broken.set()
    await until(lambda: not server.health())
    with pytest.raises(ConnectionLostError, match="given up"):
        await asyncio.create_task(block.__aexit__(None, None, None))
