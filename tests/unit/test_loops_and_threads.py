"""The rule: a client or server is connected on one event loop of one process, and works there alone.

Anywhere else (another loop, another thread, no loop, a forked process) each method ends at once, with a
ConfigurationError that names the loop or the process, and what is connected is not disturbed. connect() draws name, ids
and keys; it may be called again after close(), after its loop was closed, and in a forked process, and draws anew.
Forks and processes are in tests/rabbitmq/test_processes.py, since what they share is a socket.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge_core import ConfigurationError, ConnectionLostError, ConnectionState
from rabibridge_core.rpc import RpcClient, RpcServer
from rabibridge_testing import forget_broker
from tests.support.waiting import PATIENCE, soon

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator

URL = "memory://loops"


async def echo(value: Any) -> Any:
    return value


@pytest.fixture(autouse=True)
def _own_broker() -> Iterator[None]:
    yield
    forget_broker("loops")


class Loop:
    """An event loop that runs in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(PATIENCE)
        self.loop.close()


@pytest.fixture
def other() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


async def serve(server: RpcServer) -> asyncio.Task[None]:
    await server.connect()
    serving = asyncio.create_task(server.run_serve(signals=False))
    while not server.health():  # noqa: ASYNC110 - nothing signals that it serves
        await asyncio.sleep(0)
    return serving


@pytest.fixture
async def server() -> AsyncIterator[RpcServer]:
    server = RpcServer(url=URL)
    server.add_service(echo)
    serving = await serve(server)
    yield server
    server.stop()
    await soon(serving)
    await server.close()


async def test_another_loop_gets_an_error_that_names_the_loop_and_disturbs_nothing(
    server: RpcServer, other: Loop
) -> None:
    client = RpcClient(url=URL)
    async with client:
        for use in (lambda: client.remote_call("echo", (1,)), client.connect, client.close):
            with pytest.raises(ConfigurationError, match=r"another event loop, <.*running=True") as refused:
                await asyncio.to_thread(other.run, use())
            assert repr(asyncio.get_running_loop()) in str(refused.value)
        assert client.state is ConnectionState.READY
        assert client.health()
        assert await client.remote_call("echo", (2,), timeout=PATIENCE) == 2


async def test_a_call_from_another_loop_during_a_pause_does_not_disturb_the_right_one(
    server: RpcServer, other: Loop
) -> None:
    async with RpcClient(url=URL) as client:
        broker: Any = client._transport
        broker.broker.block("test")
        waiting = asyncio.create_task(client.remote_call("echo", (1,), timeout=PATIENCE))
        await asyncio.sleep(0)
        with pytest.raises(ConfigurationError, match="another event loop"):
            await asyncio.to_thread(other.run, client.remote_call("echo", (2,), timeout=1))
        broker.broker.unblock()
        assert await soon(waiting) == 1
        broker.broker.block("again")
        waiting = asyncio.create_task(client.remote_call("echo", (3,), timeout=PATIENCE))
        await asyncio.sleep(0)
        broker.broker.unblock()
        assert await soon(waiting) == 3


async def test_a_server_is_stopped_from_any_thread(other: Loop) -> None:
    server = RpcServer(url=URL)
    server.add_service(echo)
    serving = await serve(server)
    with pytest.raises(ConfigurationError, match="another event loop"):
        await asyncio.to_thread(other.run, _add(server))
    with pytest.raises(ConfigurationError, match="another event loop"):
        await asyncio.to_thread(other.run, server.run_serve(signals=False))
    await asyncio.to_thread(server.stop)
    await soon(serving)
    await server.close()


async def _add(server: RpcServer) -> None:
    server.add_service(_add)


@pytest.mark.parametrize("cls", [RpcClient, RpcServer])
def test_where_no_loop_runs_the_error_says_so(cls: type[RpcClient | RpcServer]) -> None:
    made = cls(url=URL)
    for work in (made.connect(), made.__aenter__()):
        with pytest.raises(ConfigurationError, match="needs a running asyncio event loop, and none runs"):
            work.send(None)  # as another framework, such as trio, runs coroutines
        work.close()
    assert made.state is ConnectionState.IDLE


def test_a_client_whose_loop_is_closed_says_so_everywhere_and_connects_on_the_next() -> None:
    client = RpcClient(url=URL)
    asyncio.run(_connected(client))
    assert client.state is ConnectionState.CLOSED
    assert not client.health()
    assert "closed" in client.health().reasons[0]
    assert isinstance(client.last_error, ConfigurationError)
    with pytest.raises(ConfigurationError, match="event loop, which is closed: <"):
        asyncio.run(_call(client))
    asyncio.run(_connected(client))
    asyncio.run(client.close())
    asyncio.run(client.close())
    assert client.state is ConnectionState.CLOSED
    with pytest.raises(ConnectionLostError, match=r"closed: await its connect\(\)"):
        asyncio.run(_call(client))


async def _connected(client: RpcClient) -> None:
    assert (await client.connect()).state is ConnectionState.READY


async def _call(client: RpcClient) -> Any:
    return await client.remote_call("echo", (1,), timeout=1)


@lru_cache
def cached_client() -> RpcClient:
    return RpcClient(url=URL)


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_loop_for_each_test_and_one_cached_client(server: RpcServer, number: int) -> None:
    async with cached_client() as client:
        assert await client.remote_call("echo", (number,), timeout=PATIENCE) == number


async def test_a_closed_client_and_server_are_connected_again(server: RpcServer) -> None:
    client = RpcClient(url=URL)
    keys = set()
    for number in range(3):
        async with client:
            assert await client.remote_call("echo", (number,), timeout=PATIENCE) == number
            keys.add(client._client.calls.idempotency.new())
        with pytest.raises(ConnectionLostError, match="closed"):
            await client.remote_call("echo")
    assert len({key.split(".")[0] for key in keys}) == 3  # drawn at each connect
    again = RpcServer(url=URL)
    again.add_service(echo)
    for _ in range(2):
        serving = await serve(again)
        assert [service.name for service in again.services] == ["echo"]
        again.stop()
        await soon(serving)
        await again.close()


async def test_closing_and_connecting_at_once_leaves_one_connection(server: RpcServer) -> None:
    client = RpcClient(url=URL)
    await client.connect()
    await asyncio.gather(client.close(), client.connect(), client.connect())
    assert client.state is ConnectionState.READY
    assert await client.remote_call("echo", (1,), timeout=PATIENCE) == 1
    await client.close()


async def test_a_connect_that_failed_on_one_loop_is_repeated_on_another(other: Loop) -> None:
    client = RpcClient(url=URL)
    transport: Any = client._transport
    transport.broker.refuse_connections()
    with pytest.raises(ConnectionLostError):
        await asyncio.to_thread(other.run, client.connect())
    transport.broker.restore()
    async with client:
        assert client.state is ConnectionState.READY


def test_one_that_is_left_open_gives_one_warning_that_names_it() -> None:
    client = RpcClient(url=URL, name="forgotten")
    asyncio.run(_connected(client))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del client
    (warning,) = caught
    assert warning.category is ResourceWarning
    assert "forgotten" in str(warning.message)


def test_one_that_was_never_made_has_a_repr() -> None:
    assert repr(RpcClient.__new__(RpcClient)) == "<RpcClient, not initialized>"
