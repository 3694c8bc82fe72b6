from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import (
    CallTimeoutError,
    ConnectionLostError,
    InvalidArgumentsError,
    QueueFullError,
    RegistrationError,
    RemoteExecutionError,
    RMQClient,
    RMQServer,
    register_call,
)
from rabibridge_core.errors import ConfigurationError
from rabibridge_core.plugins.resolver import is_overridden
from rabibridge_core.transport import ConnectionState, Request, ServiceQueue
from rabibridge_testing import FakeBroker
from rabibridge_testing.conformance import Inbox, Worker

if TYPE_CHECKING:
    from pathlib import Path

    from rabibridge_testing import MemoryTransport


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("HOST", "PORT", "USERNAME", "PASSWORD", "URL"):
        monkeypatch.delenv(f"RABBITMQ_{name}", raising=False)
        monkeypatch.delenv(f"RABIBRIDGE_{name}", raising=False)
    monkeypatch.delenv("RABIBRIDGE_CONFIG", raising=False)


async def add(left: int, right: int) -> int:
    return left + right


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
    options = ["-q", "-p", "no:asyncio", "-p", "no:cacheprovider", "-W", "error", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_under_anyio.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
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


async def test_the_limits_of_a_function_without_a_server(fake_broker: FakeBroker) -> None:
    release = asyncio.Event()
    started = asyncio.Event()

    async def slow() -> str:
        started.set()
        await release.wait()
        return "done"

    fake_broker.add_service(slow, queue_size=1, fetch_size=1)
    async with RMQClient() as client:
        first = asyncio.create_task(client.remote_call("slow"))
        await started.wait()
        second, third = (asyncio.create_task(client.remote_call("slow")) for _ in range(2))
        with pytest.raises(QueueFullError):
            await third
        release.set()
        assert await first == await second == "done"


async def test_sync_functions_and_validation(fake_broker: FakeBroker) -> None:
    def where(_: int) -> int:
        return threading.get_ident()

    fake_broker.add_service(where, validate=True)
    async with RMQClient() as client:
        assert await client.remote_call("where", ("7",), ftype="sync") != threading.get_ident()
        with pytest.raises(InvalidArgumentsError):
            await client.remote_call("where", ("seven",), ftype="sync")


async def test_functions_added_while_connected(fake_broker: FakeBroker) -> None:
    async with RMQClient() as client:
        fake_broker.add_service(add)
        assert await client.remote_call("add", (1, 2)) == 3

        async def later() -> str:
            return "later"

        fake_broker.add_service(later)
        assert await client.remote_call("later") == "later"


@pytest.mark.parametrize("how", ["lost", "refused"])
async def test_functions_added_while_there_is_no_connection(fake_broker: FakeBroker, how: str) -> None:
    async def before() -> None: ...

    async with RMQClient() as client:
        if how == "lost":
            fake_broker.add_service(before)
            await client.remote_call("before")
            fake_broker.lose_connection(restore=False)
        else:
            fake_broker.refuse_connections()
        fake_broker.add_service(add)
        call = asyncio.create_task(client.remote_call("add", (1, 2)))
        await asyncio.sleep(0.01)  # let it go wrong
        assert not call.done()
        fake_broker.restore()
        assert await call == 3


async def test_a_decorated_function_keeps_its_limits(fake_broker: FakeBroker) -> None:
    @register_call(queue_size=7, timeout=5, validate=True)
    async def limited(number: int) -> int:
        return number

    schema = fake_broker.add_service(limited, queue_size=8)
    assert (schema.queue_size, schema.timeout, schema.validate) == (8, 5, True)
    async with RMQClient() as client:
        with pytest.raises(InvalidArgumentsError):
            await client.remote_call("limited", ("x",))


async def test_limits_are_those_of_a_server(fake_broker: FakeBroker) -> None:
    fake_broker.declare(ServiceQueue("rpc_async_add", ("async_add", "add"), queue_size=1, fetch_size=1))
    with pytest.raises(ConfigurationError, match="re_register"):
        fake_broker.add_service(add)
    schema = fake_broker.add_service(add, fetch_size=4, re_register=True, queue_type="quorum", fetch_ahead=2)
    assert (schema.queue_type, schema.fetch_ahead) == ("quorum", 2)
    assert fake_broker.queues["rpc_async_add"].spec == schema.queue
    async with RMQClient() as client:
        assert await client.remote_call("add", (1, 2)) == 3


async def test_a_name_is_taken_once(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(add)
    with pytest.raises(RegistrationError, match="'add'"):
        fake_broker.add_service(add)


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
    assert (pending.service, pending.outcome, pending.timeout) == ("hang", "pending", 0.05)
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


async def test_calls_left_in_hand_end_with_the_last_client(fake_broker: FakeBroker) -> None:
    started, stopped = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    fake_broker.add_service(hang)
    async with RMQClient() as client:
        call = asyncio.create_task(client.remote_call("hang"))
        await started.wait()
    with pytest.raises(ConnectionLostError):
        await call
    assert stopped.is_set()
    started.clear()
    async with RMQClient() as client:
        assert not fake_broker.queues["rpc_async_hang"].unsettled


async def test_a_thread_that_does_not_end_holds_nothing_up(fake_broker: FakeBroker) -> None:
    release = threading.Event()
    fake_broker.add_service(release.wait)
    try:
        async with RMQClient() as client:
            with pytest.raises(CallTimeoutError):
                await client.remote_call("wait", (60,), ftype="sync", timeout=0.05)
            started = time.monotonic()
        assert time.monotonic() - started < 30
    finally:
        release.set()


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
    assert not is_overridden()
    with pytest.raises(ConfigurationError):
        RMQClient()
