"""The synchronous client on the in-memory broker: calls, errors, threads, and where it refuses to block."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import pickle
import signal
import threading
import time
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
from rabibridge_core.plugins.resolver import override_transport
from rabibridge_core.rpc import SyncRpcClient
from rabibridge_testing import FakeBroker
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    assert client.state is ConnectionState.IDLE
    assert not client.health()
    with client:
        assert client.state is ConnectionState.READY
        assert client.remote_call("add", (1,), {"right": 2}) == 3
        assert client.health()
        assert client.last_error is None
        assert "ready" in repr(client)
    assert client.state is ConnectionState.CLOSED
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

    def call(number: int) -> int:
        result: int = client.remote_call("add", (number, number), timeout=PATIENCE)
        return result

    client = Client()
    with ThreadPoolExecutor(16) as pool:  # the first calls of all of them start the thread and connect
        assert list(pool.map(call, range(2000))) == [2 * number for number in range(2000)]
    assert len({name for name in map(str, threading.enumerate()) if "-loop" in name}) == 1
    client.close()
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


def test_it_connects_again_after_its_connection_was_given_up(fake_broker: FakeBroker) -> None:
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


def test_in_a_handler_it_takes_over_the_deadline_and_the_headers(client: Client, fake_broker: FakeBroker) -> None:
    def inner() -> tuple[float | None, dict[str, Any]]:
        return current_call().time_left, dict(current_call().headers)

    def outer(inherit: bool) -> Any:
        return nested.remote_call("inner", ftype="sync", inherit_deadline=inherit, headers={"own": 1, "both": "inner"})

    fake_broker.add_service(inner)
    fake_broker.add_service(outer)
    sent = {"tenant": "seven", "both": "outer", "x-own": "stays", "traceparent": "00-1-2-03"}
    nested = client
    left, headers = client.remote_call("outer", (True,), ftype="sync", timeout=7.0, headers=sent)
    assert 0 < left < 7
    assert {name: value for name, value in headers.items() if not name.startswith("rb-")} == {
        "tenant": "seven", "both": "inner", "own": 1,
    }  # fmt: skip
    left, headers = client.remote_call("outer", (False,), ftype="sync", timeout=7.0, headers=sent)
    assert left > 7


def test_a_nested_call_does_not_outlive_its_caller(client: Client, fake_broker: FakeBroker) -> None:
    errors: list[BaseException] = []
    ended = threading.Event()

    def slow() -> None:
        time.sleep(0.3)

    def outer() -> None:
        try:
            client.remote_call("slow", ftype="sync", timeout=PATIENCE)
        except CallTimeoutError as error:
            errors.append(error)
        ended.set()

    fake_broker.add_service(slow)
    fake_broker.add_service(outer)
    with pytest.raises(CallTimeoutError):
        client.remote_call("outer", ftype="sync", timeout=0.1)
    assert ended.wait(PATIENCE)
    assert "the time left to the call that is being processed" in str(errors[0])


def test_an_exception_from_outside_cancels_the_call(client: Client, fake_broker: FakeBroker) -> None:
    begun, cancelled = threading.Event(), threading.Event()

    async def forever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    class OutOfTimeError(BaseException):
        pass

    def interrupt(number: int, frame: object) -> None:
        raise OutOfTimeError

    def when_begun() -> None:
        begun.wait(PATIENCE)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    fake_broker.add_service(forever)
    before = signal.signal(signal.SIGUSR1, interrupt)
    thread = threading.Thread(target=when_begun)
    thread.start()
    try:
        with pytest.raises(OutOfTimeError):
            client.remote_call("forever", timeout=PATIENCE)
        assert client.pending == 0
        assert cancelled.wait(PATIENCE)
        assert client.remote_call("add", (1, 2)) == 3
    finally:
        signal.signal(signal.SIGUSR1, before)
        thread.join()


def test_an_exception_set_by_another_thread_cancels_the_call(client: Client, fake_broker: FakeBroker) -> None:
    import ctypes

    begun, raised = threading.Event(), threading.Event()

    async def forever() -> None:
        begun.set()
        await asyncio.Event().wait()

    def work() -> None:
        try:
            client.remote_call("forever", timeout=PATIENCE)
        except KeyboardInterrupt:
            raised.set()

    fake_broker.add_service(forever)
    thread = threading.Thread(target=work)
    thread.start()
    assert begun.wait(PATIENCE)
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt))
    assert raised.wait(PATIENCE)
    thread.join(PATIENCE)
    assert client.pending == 0


def test_a_call_from_a_signal_handler_in_the_middle_of_a_call(client: Client, fake_broker: FakeBroker) -> None:
    begun = threading.Event()
    results: list[Any] = []
    opened: asyncio.Event

    async def wait_for_it() -> str:
        nonlocal opened
        opened = asyncio.Event()
        begun.set()
        await opened.wait()
        return "outer"

    async def open_it() -> str:
        opened.set()
        return "inner"

    def on_signal(number: int, frame: object) -> None:
        results.append(client.remote_call("open_it", timeout=PATIENCE))

    fake_broker.add_service(wait_for_it)
    fake_broker.add_service(open_it)
    before = signal.signal(signal.SIGUSR1, on_signal)
    try:
        main = threading.main_thread().ident or 0
        threading.Thread(target=lambda: begun.wait(PATIENCE) and signal.pthread_kill(main, signal.SIGUSR1)).start()
        assert client.remote_call("wait_for_it", timeout=PATIENCE) == "outer"
        assert results == ["inner"]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_calls_from_the_thread_of_the_loop_itself_are_refused(client: Client, fake_broker: FakeBroker) -> None:
    refused: list[str] = []

    class Calling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            use()

    def use() -> None:
        try:
            client.remote_call("add", (1, 2))
        except ConfigurationError as error:
            refused.append(str(error))

    class Finalized:
        def __del__(self) -> None:
            use()

    async def log() -> None:
        logging.getLogger("rabibridge_core.test").warning("a line from the thread of the loop")
        rubbish = [Finalized()]
        rubbish.append(rubbish)  # type: ignore[arg-type]
        del rubbish
        gc.collect()

    fake_broker.add_service(log)
    handler = Calling()
    logging.getLogger("rabibridge_core").addHandler(handler)
    try:
        client.remote_call("log", timeout=PATIENCE)
    finally:
        logging.getLogger("rabibridge_core").removeHandler(handler)
    assert len(refused) == 2
    assert "would block" in refused[0]
    assert client.remote_call("add", (1, 2)) == 3


def test_one_that_is_dropped_warns_and_ends_its_thread(fake_broker: FakeBroker) -> None:
    client = Client().connect()
    (thread,) = [thread for thread in threading.enumerate() if "-loop" in thread.name]
    with pytest.warns(ResourceWarning, match="never closed"):
        del client
        gc.collect()
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
