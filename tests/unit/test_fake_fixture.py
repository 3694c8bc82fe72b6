"""The fixture ``fake_broker``: who uses it, and what it shows of the calls."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import (
    CallTimeoutError,
    ConnectionLostError,
    RemoteExecutionError,
    RMQClient,
    RMQServer,
)
from rabibridge.sync import Client
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.plugins.resolver import current_override, override_transport
from rabibridge_core.transport import ConnectionState, Request, ServiceQueue
from rabibridge_testing import FakeBroker
from rabibridge_testing.conformance import Inbox, Worker
from tests.unit.fake_support import add

if TYPE_CHECKING:
    from pathlib import Path

    from rabibridge_testing import MemoryTransport

pytestmark = pytest.mark.usefixtures("clean_place")


async def test_a_function_without_a_server(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(add)
    async with RMQClient() as client:
        assert await client.remote_call("add", (1, 2)) == 3


UNDER_ANYIO = """
import asyncio

import pytest

from rabibridge import (RMQClient, RMQServer)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def client(fake_broker):
    async with RMQClient() as client:
        yield client


async def add(left, right):
    return left + right


async def test_a_function_without_a_server(fake_broker, client):
    assert "anyio" in repr(asyncio.current_task())
    fake_broker.add_service(add)
    assert await client.remote_call("add", (1, 2)) == 3


async def test_a_server(client):
    server = RMQServer()
    server.add_service(add)
    async with server:
        serving = asyncio.create_task(server.run_serve())
        assert await client.remote_call("add", (1, 2)) == 3
        server.stop()
        await serving
"""


def test_under_anyio(tmp_path: Path) -> None:
    # In a process of its own: in auto mode, pytest-asyncio would run these tests before anyio can.
    (tmp_path / "test_under_anyio.py").write_text(UNDER_ANYIO, encoding="utf-8")
    less = [word for name in ("asyncio", "cacheprovider", "hypothesispytest") for word in ("-p", f"no:{name}")]
    options = ["-q", *less, "-W", "error", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_under_anyio.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_without_any_plugin_for_async_tests(fake_broker: FakeBroker) -> None:
    async def main(number: int) -> Any:
        async with RMQClient() as client:
            return await client.remote_call("add", (number, 1))

    fake_broker.add_service(add)
    assert [asyncio.run(main(number)) for number in range(3)] == [1, 2, 3]


async def test_configured_clients_use_it_too(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(add)
    async with RMQClient(host="nowhere.invalid", port=1, username="u", password="p") as client:
        assert await client.remote_call("add", (1, 2)) == 3


async def test_who_starts_before_the_broker_waits_for_it(
    fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "20")
    fake_broker.add_service(add)
    fake_broker.refuse_connections()
    client = RMQClient()
    connecting = asyncio.create_task(client.connect())
    await fake_broker.clock.advance(19)
    assert not connecting.done()
    fake_broker.restore()
    async with client:
        await connecting
        assert await client.remote_call("add", (1, 2)) == 3
    fake_broker.refuse_connections()
    connecting = asyncio.create_task(RMQClient().connect())
    await fake_broker.clock.advance(20)
    with pytest.raises(ConnectionLostError, match="refuses connections"):
        await connecting


def test_those_of_a_module_that_was_imported_before_use_it_too() -> None:
    url = "amqp://user:password@nowhere.invalid"
    client, synchronous, server = RMQClient(url=url), Client(url=url), RMQServer(url=url)
    server.add_service(add, name="of_a_server")

    async def call() -> Any:
        async with server.serving(), client:
            return await client.remote_call("of_a_server", (1, 2)), await client.remote_call("add", (3, 4))

    for _ in range(2):  # tests
        broker = FakeBroker()
        broker.add_service(add)
        with override_transport(broker.transport_for):
            assert asyncio.run(call()) == (3, 7)
            assert synchronous.remote_call("add", (1, 2)) == 3
        broker.shut_down()
    synchronous.close()


async def test_a_server_and_a_client_meet(fake_broker: FakeBroker) -> None:
    server = RMQServer()
    server.add_service(add, queue_size=10)
    async with server, RMQClient() as client:
        early = asyncio.create_task(client.remote_call("add", (1, 2)))
        serving = asyncio.create_task(server.run_serve())
        assert await early == 3
        server.stop()
        await serving
    assert [call.service for call in fake_broker.calls] == ["add"]


@pytest.mark.parametrize("serializer", ["msgpack", "json"])
async def test_calls_are_listed(fake_broker: FakeBroker, serializer: str) -> None:
    async def divide(left: int, right: int) -> float:
        return left / right

    never = asyncio.Event()

    async def hang() -> None:
        await never.wait()

    fake_broker.add_service(divide)
    fake_broker.add_service(hang)
    async with RMQClient(serializer=serializer) as client:
        assert await client.remote_call("divide", (1,), {"right": 2}) == 0.5
        with pytest.raises(RemoteExecutionError):
            await client.remote_call("divide", (1, 0))
        with pytest.raises(CallTimeoutError):
            await client.remote_call("hang", timeout=0.05)
        await client.try_remote_call("nobody", ("x" * 5000,))
    result, error, pending, refused = fake_broker.calls
    assert (result.service, result.args, result.kwargs) == ("divide", (1,), {"right": 2})
    assert (result.outcome, result.result, result.error) == ("result", 0.5, None)
    assert error.outcome == "error"
    assert isinstance(error.error, RemoteExecutionError)
    assert error.error.error_type == "builtins.ZeroDivisionError"
    assert (pending.service, pending.outcome, pending.timeout) == ("hang", "expired", 0.05)
    assert (refused.service, refused.outcome, refused.args) == ("nobody", "refused", ("x" * 5000,))
    assert type(refused.error).__name__ == "NoRouteError"
    assert fake_broker.calls_of("hang") == [pending]


async def test_signed_pickles_are_listed_and_answered(fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RABIBRIDGE_SIGNING_KEY", "0123456789abcdef0123456789abcdef")

    async def echo(value: Any) -> Any:
        return value

    fake_broker.add_service(echo)
    async with RMQClient(serializer="pickle") as client:
        assert await client.remote_call("echo", ({1, 2},)) == {1, 2}
    (call,) = fake_broker.calls
    assert (call.args, call.result) == (({1, 2},), {1, 2})


async def test_losing_the_connection(fake_broker: FakeBroker) -> None:
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.Event().wait()

    fake_broker.add_service(add)
    fake_broker.add_service(hang)
    async with RMQClient() as client:
        call = asyncio.create_task(client.remote_call("hang"))
        await started.wait()
        fake_broker.lose_connection()
        with pytest.raises(ConnectionLostError):
            await call
        assert await client.remote_call("add", (1, 2), timeout=30) == 3


def test_it_ends_without_an_event_loop() -> None:
    broker, worker = FakeBroker(), Worker()
    broker.add_service(add)

    async def left_open() -> MemoryTransport:
        transports = [broker.transport() for _ in range(3)]
        for transport in transports:
            await transport.connect()
        queue = ServiceQueue("rpc_async_work", ("async_work",), None, 1)
        for transport in transports[:2]:
            await transport.serve(queue, worker)
        caller = await transports[2].open_caller(Inbox())
        caller.send(Request("async_work", b"1", b"", "text/plain", None, None))
        await worker.requests.get()
        return transports[0]

    transport = asyncio.run(left_open())
    broker.shut_down()
    assert transport.state is ConnectionState.CLOSED
    assert not broker.queues


def test_without_the_fixture_nothing_is_faked() -> None:
    assert current_override() is None
    with pytest.raises(ConfigurationError):
        RMQClient()
