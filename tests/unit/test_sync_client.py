"""The synchronous client on the in-memory broker: calls, errors, threads, and where it refuses to block."""

from __future__ import annotations

import asyncio
import math
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import (
    CallTimeoutError,
    ConfigurationError,
    ConnectionLostError,
    ConnectionState,
    InvalidArgumentsError,
    NoRouteError,
    QueueFullError,
    RemoteExecutionError,
    RetryRefused,
    SerializationError,
    current_call,
)
from rabibridge.sync import Client
from rabibridge_core.rpc import SyncRpcClient
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rabibridge_testing import FakeBroker

pytestmark = pytest.mark.usefixtures("clean_place")


async def add(left: int, right: int) -> int:
    return left + right


async def fail(text: str) -> None:
    raise ValueError(text)


def plain(value: Any) -> Any:
    return value


@pytest.fixture
def client(fake_broker: FakeBroker) -> Iterator[Client]:
    for function in (add, fail, plain):
        fake_broker.add_service(function)
    with Client() as client:
        yield client
        assert client.pending == 0


def test_the_first_call_connects_and_the_end_of_the_block_closes(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(add)
    client = Client()
    assert str(client.state) == str(ConnectionState.IDLE)
    assert not client.health()
    with client:
        assert str(client.state) == str(ConnectionState.READY)
        assert client.remote_call("add", (1,), {"right": 2}) == 3
        assert client.health()
        assert client.last_error is None
        assert "ready" in repr(client)
    assert str(client.state) == str(ConnectionState.CLOSED)
    with pytest.raises(ConnectionLostError, match=r"call its connect\(\)") as closed:
        client.remote_call("add", (1, 2))
    assert closed.value.executed is False
    client.close()
    assert client.connect() is client
    assert client.remote_call("add", (1, 2)) == 3
    client.close()


def test_errors_are_those_of_the_async_client(client: Client, fake_broker: FakeBroker) -> None:
    with pytest.raises(RemoteExecutionError, match="of two") as failed:
        client.remote_call("fail", ("of two",))
    assert failed.value.error_type == "builtins.ValueError"
    with pytest.raises(InvalidArgumentsError):
        client.remote_call("add", (1,))
    with pytest.raises(NoRouteError):
        client.remote_call("nobody")
    with pytest.raises(SerializationError):
        client.remote_call("plain", (object(),), ftype="sync")
    with pytest.raises(ConfigurationError, match="timeout"):
        client.remote_call("add", (1, 2), timeout="soon")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        client.remote_call("add", 1)  # type: ignore[arg-type]
    with fake_broker.drop_replies(), pytest.raises(CallTimeoutError):
        client.remote_call("add", (1, 2), timeout=0.05)
    with fake_broker.refuse("add", times=1), pytest.raises(QueueFullError):
        client.remote_call("add", (1, 2))


def test_try_remote_call(client: Client) -> None:
    assert client.try_remote_call("add", (1, 2)) == (True, (0, 3))
    reached, (code, error) = client.try_remote_call("fail", ("again",))
    assert (reached, code) == (True, 1)
    assert isinstance(error, RemoteExecutionError)
    reached, (code, error) = client.try_remote_call("nobody")
    assert (reached, code) == (False, 1)
    assert isinstance(error, NoRouteError)


def test_options_are_passed_on(client: Client, fake_broker: FakeBroker) -> None:
    def headers() -> dict[str, Any]:
        return dict(current_call().headers)

    fake_broker.add_service(headers)
    assert client.remote_call("headers", ftype="sync", headers={"tenant": "seven"})["tenant"] == "seven"
    with fake_broker.refuse("add", times=2):
        assert client.remote_call("add", (1, 2), retry=RetryRefused()) == 3
    assert client.remote_call("add", (1, 2), timeout=math.inf, idempotent=True, persistent=True) == 3


def test_a_closed_client_that_never_connected(fake_broker: FakeBroker) -> None:
    client = Client()
    client.close()
    with pytest.raises(ConnectionLostError):
        client.remote_call("add", (1, 2))
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(client)


def test_wrong_settings_are_told_where_the_client_is_made() -> None:
    with pytest.raises(ConfigurationError, match="amqp"):
        Client(url="http://nowhere")
    with pytest.raises(ConfigurationError, match="retry"):
        Client(url="amqp://127.0.0.1", retry=5)  # type: ignore[arg-type]
    assert "secret" not in repr(Client("127.0.0.1", 5672, "user", "secret"))


def test_the_client_for_any_transport(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(add)
    with SyncRpcClient(loop_factory=asyncio.new_event_loop) as client:
        assert client.remote_call("add", (1, 2)) == 3


def test_many_threads_at_once(fake_broker: FakeBroker) -> None:
    fake_broker.add_service(add)

    ours = Client()

    def call(number: int) -> int:
        result: int = ours.remote_call("add", (number, number), timeout=PATIENCE)
        return result

    with ThreadPoolExecutor(16) as pool:  # the first calls of all of them start the thread and connect
        assert list(pool.map(call, range(2000))) == [2 * number for number in range(2000)]
    assert len([thread for thread in threading.enumerate() if "-loop" in thread.name]) == 1
    ours.close()
    assert not [thread for thread in threading.enumerate() if "-loop" in thread.name]


def test_a_timeout_that_races_with_the_reply_ends_each_call_once(client: Client, fake_broker: FakeBroker) -> None:
    fake_broker.delay(0.005, "add", kind="reply")
    ended: list[str] = []

    def work() -> None:
        for number in range(60):
            try:
                assert client.remote_call("add", (number, 1), timeout=0.006) == number + 1
                ended.append("result")
            except CallTimeoutError:
                ended.append("timeout")

    threads = [threading.Thread(target=work) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(ended) == 16 * 60
    assert client.pending == 0


def test_calls_by_the_function_itself(client: Client) -> None:
    assert client.call(add, 1, right=2) == 3
    assert client.call(plain, "a") == "a"
    assert client.call("add", 1, 2) == 3
    with pytest.raises(TypeError, match="is a class"):
        client.call(Client)


def test_views_with_options(client: Client, fake_broker: FakeBroker) -> None:
    view = client.options(timeout=PATIENCE, headers={"tenant": "seven"})
    assert view.call(add, 1, 2) == 3
    assert view.options(kind="async", headers={"size": 1}).remote_call("add", (1, 2), ftype="sync") == 3

    async def headers() -> Any:
        return current_call().headers.get("tenant"), current_call().headers.get("size")

    fake_broker.add_service(headers)
    assert view.call("headers") == ["seven", None]
    assert view.options(headers={"size": 1}).call("headers") == ["seven", 1]
    assert view.try_remote_call("add", (1, 2)) == (True, (0, 3))
    assert view.try_remote_call("nobody")[0] is False
    reached, (_, error) = view.try_remote_call("fail", ("so",))
    assert reached
    assert isinstance(error, RemoteExecutionError)
    with fake_broker.drop_replies(), pytest.raises(CallTimeoutError):
        client.options(timeout=0.05).call(add, 1, 2)
    with pytest.raises(ConfigurationError, match="kind"):
        client.options(kind="both")  # type: ignore[arg-type]
    assert "tenant" in repr(view)
