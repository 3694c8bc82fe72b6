"""The life of a synchronous client: its connection, its thread, and calls that it makes in a function being called."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import CallTimeoutError, ConfigurationError, ConnectionLostError, NoRouteError, current_call
from rabibridge.sync import Client
from rabibridge_core.plugins.resolver import override_transport
from rabibridge_testing import FakeBroker
from tests.support.waiting import PATIENCE, longer

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("clean_place")


async def add(left: int, right: int) -> int:
    return left + right


@pytest.fixture
def client(fake_broker: FakeBroker) -> Iterator[Client]:
    fake_broker.add_service(add)
    with Client() as client:
        yield client
        assert client.pending == 0


def test_closing_ends_the_calls_of_other_threads(client: Client, fake_broker: FakeBroker) -> None:
    started = threading.Event()

    async def forever() -> None:
        started.set()
        await asyncio.Event().wait()

    fake_broker.add_service(forever)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.remote_call, "forever")
        assert started.wait(PATIENCE)
        client.close()
        with pytest.raises(ConnectionLostError, match="closed"):
            call.result(PATIENCE)


def test_a_timeout_includes_the_time_to_connect(fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    from rabibridge_testing import MemoryTransport

    async def connect(self: MemoryTransport) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(MemoryTransport, "connect", connect)
    client = Client()
    with pytest.raises(CallTimeoutError, match="not connected") as late:
        client.remote_call("add", (1, 2), timeout=0.05)
    assert late.value.executed is False
    client.close()


def test_it_connects_again_after_its_connection_was_given_up(
    fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RABIBRIDGE_CONNECT_TIMEOUT", "0.05")
    client = Client()
    fake_broker.refuse_connections()
    with pytest.raises(ConnectionLostError):
        client.remote_call("add", (1, 2))
    fake_broker.restore()
    fake_broker.add_service(add)
    assert client.remote_call("add", (1, 2)) == 3
    fake_broker.shut_down()  # as at the end of a test that used a client of a module
    with override_transport(FakeBroker().transport_for), pytest.raises(NoRouteError):
        client.remote_call("add", (1, 2))
    client.close()


async def test_it_refuses_to_block_an_event_loop(fake_broker: FakeBroker) -> None:
    client = Client()
    for use in (client.connect, lambda: client.remote_call("add", (1, 2))):
        with pytest.raises(ConfigurationError, match="await RMQClient there"):
            use()
    fake_broker.add_service(add)
    assert await asyncio.to_thread(client.remote_call, "add", (1, 2)) == 3
    await asyncio.to_thread(client.close)


def test_one_that_is_dropped_warns_and_ends_its_thread(fake_broker: FakeBroker) -> None:
    client = Client().connect()
    (thread,) = [thread for thread in threading.enumerate() if "-loop" in thread.name]
    clients = [client]
    del client
    with pytest.warns(ResourceWarning, match="never closed"):
        clients.clear()
    thread.join(PATIENCE)
    assert not thread.is_alive()


def test_a_thread_that_cannot_be_started_is_an_error_of_ours(
    fake_broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    client = Client()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(ConnectionLostError, match="can't start new thread") as refused:
            client.remote_call("add", (1, 2))
        assert refused.value.executed is False
    fake_broker.add_service(add)
    assert client.remote_call("add", (1, 2)) == 3
    client.close()


def test_the_end_of_the_loop_by_an_exception_ends_every_call(client: Client, fake_broker: FakeBroker) -> None:
    async def exit_the_loop() -> None:
        asyncio.get_running_loop().call_soon(end)
        await asyncio.Event().wait()

    def end() -> None:
        raise SystemExit(5)

    fake_broker.add_service(exit_the_loop)
    with pytest.raises(ConnectionLostError, match="closed"):
        client.remote_call("exit_the_loop")
    with pytest.raises(ConnectionLostError, match="SystemExit"):
        client.remote_call("add", (1, 2))
    client.connect()
    assert client.remote_call("add", (1, 2)) == 3


def test_in_a_handler_it_takes_over_the_deadline_and_the_headers(client: Client, fake_broker: FakeBroker) -> None:
    def inner() -> tuple[float | None, dict[str, Any]]:
        return current_call().time_left, dict(current_call().headers)

    def outer(inherit: bool) -> Any:
        view = client.options(inherit_deadline=inherit, headers={"own": 1, "both": "inner"})
        return view.call(inner)

    fake_broker.add_service(inner)
    fake_broker.add_service(outer)
    sent = {"tenant": "seven", "both": "outer", "x-own": "stays", "traceparent": "00-1-2-03"}
    left, headers = client.remote_call("outer", (True,), ftype="sync", timeout=3 * PATIENCE, headers=sent)
    assert 0 < left < 3 * PATIENCE
    assert {name: value for name, value in headers.items() if not name.startswith("rb-")} == {
        "tenant": "seven", "both": "inner", "own": 1,
    }  # fmt: skip
    left, _ = client.remote_call("outer", (False,), ftype="sync", timeout=3 * PATIENCE, headers=sent)
    assert left > 3 * PATIENCE


def test_in_a_handler_every_way_of_calling_takes_them_over(client: Client, fake_broker: FakeBroker) -> None:
    def inner() -> Any:
        return current_call().headers.get("tenant"), current_call().time_left

    def outer() -> Any:
        return client.call(inner), client.remote_call("inner", ftype="sync")

    fake_broker.add_service(inner)
    fake_broker.add_service(outer)
    for tenant, left in client.options(timeout=3 * PATIENCE, headers={"tenant": "seven"}).call(outer):
        assert tenant == "seven"
        assert left < 3 * PATIENCE


def test_a_nested_call_does_not_outlive_its_caller(client: Client, fake_broker: FakeBroker) -> None:
    errors: list[BaseException] = []
    began, ended = threading.Event(), threading.Event()

    def slow() -> None:
        ended.wait(PATIENCE)

    def outer() -> None:
        began.set()
        try:
            client.remote_call("slow", ftype="sync", timeout=PATIENCE)
        except CallTimeoutError as error:
            errors.append(error)
        ended.set()

    fake_broker.add_service(slow)
    fake_broker.add_service(outer)
    for timeout in longer(0.1):
        with pytest.raises(CallTimeoutError):
            client.remote_call("outer", ftype="sync", timeout=timeout)
        if began.wait(0.1):  # it was in time to make the nested call
            break
    assert ended.wait(PATIENCE)
    assert "the time left to the call that is being processed" in str(errors[0])
