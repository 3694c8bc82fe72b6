"""What happens to a thread in the middle of a synchronous call: exceptions, signals, finalizers, and calls by them."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from rabibridge import ConfigurationError
from rabibridge.sync import Client
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rabibridge_testing import FakeBroker

pytestmark = [
    pytest.mark.usefixtures("clean_place"),
    pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="threads cannot be signalled here"),
]


class Interruption(BaseException):
    """What a signal handler raises, as SoftTimeLimitExceeded of Celery and Timeout of pytest are."""


class Forever:
    """A function that ends only when it is cancelled."""

    def __init__(self) -> None:
        self.begun, self.cancelled = threading.Event(), threading.Event()

    async def __call__(self) -> None:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


async def add(left: int, right: int) -> int:
    return left + right


@pytest.fixture
def client(fake_broker: FakeBroker) -> Iterator[Client]:
    fake_broker.add_service(add)
    with Client() as client:
        yield client
        assert client.pending == 0


@pytest.fixture
def forever(fake_broker: FakeBroker) -> Forever:
    forever = Forever()
    fake_broker.add_service(forever, name="forever")
    return forever


class Signals:
    """Sends signals to the main thread."""

    def handle(self, work: Callable[[], object]) -> None:
        signal.signal(signal.SIGUSR1, lambda number, frame: work())

    def send_when(self, *events: threading.Event) -> None:
        """Send one signal after each event."""

        def send() -> None:
            for event in events:
                event.wait(PATIENCE)
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

        threading.Thread(target=send).start()


@pytest.fixture
def signals() -> Iterator[Signals]:
    before = signal.getsignal(signal.SIGUSR1)
    yield Signals()
    signal.signal(signal.SIGUSR1, before)


def interrupt() -> None:
    raise Interruption


def test_an_exception_of_a_signal_handler_cancels_the_call(client: Client, forever: Forever, signals: Signals) -> None:
    signals.handle(interrupt)
    signals.send_when(forever.begun)
    with pytest.raises(Interruption):
        client.remote_call("forever", timeout=PATIENCE)
    assert client.pending == 0
    assert forever.cancelled.wait(PATIENCE)
    assert client.remote_call("add", (1, 2)) == 3


def test_a_second_one_does_not_wait_for_the_first(
    client: Client, forever: Forever, signals: Signals, fake_broker: FakeBroker
) -> None:
    blocking, raised = threading.Event(), threading.Event()

    async def block() -> None:  # so that the call is not cancelled for a while
        blocking.set()
        raised.wait(PATIENCE)

    def first_interruption() -> None:
        signals.handle(interrupt)
        again.set()
        raise Interruption

    again = threading.Event()
    fake_broker.add_service(block)
    signals.handle(first_interruption)
    threading.Thread(target=lambda: forever.begun.wait(PATIENCE) and client.remote_call("block")).start()
    signals.send_when(blocking, again)
    with pytest.raises(Interruption) as interruption:
        client.remote_call("forever", timeout=PATIENCE)
    assert isinstance(interruption.value.__context__, Interruption)
    raised.set()
    assert forever.cancelled.wait(PATIENCE)


def test_an_exception_waits_a_second_at_most_for_its_call_to_be_cancelled(
    client: Client, forever: Forever, signals: Signals, fake_broker: FakeBroker
) -> None:
    blocking, raised = threading.Event(), threading.Event()

    async def block() -> None:
        blocking.set()
        raised.wait(PATIENCE)

    fake_broker.add_service(block)
    signals.handle(interrupt)
    threading.Thread(target=lambda: forever.begun.wait(PATIENCE) and client.remote_call("block")).start()
    signals.send_when(blocking)
    began = time.monotonic()
    with pytest.raises(Interruption):
        client.remote_call("forever", timeout=PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2
    raised.set()
    assert forever.cancelled.wait(PATIENCE)


def test_an_exception_set_by_another_thread_cancels_the_call(client: Client, forever: Forever) -> None:
    raised = threading.Event()

    def work() -> None:
        try:
            client.remote_call("forever", timeout=PATIENCE)
        except Interruption:
            raised.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert forever.begun.wait(PATIENCE)
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Interruption))
    assert raised.wait(PATIENCE)
    assert forever.cancelled.wait(PATIENCE)
    thread.join(PATIENCE)


def test_a_call_from_a_signal_handler_in_the_middle_of_a_call(
    client: Client, fake_broker: FakeBroker, signals: Signals
) -> None:
    begun, results = threading.Event(), list[Any]()
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

    fake_broker.add_service(wait_for_it)
    fake_broker.add_service(open_it)
    signals.handle(lambda: results.append(client.remote_call("open_it", timeout=PATIENCE)))
    signals.send_when(begun)
    assert client.remote_call("wait_for_it", timeout=PATIENCE) == "outer"
    assert results == ["inner"]


def test_a_call_from_a_finalizer_in_the_middle_of_a_program(client: Client) -> None:
    results = list[Any]()

    class Finalized:
        def __del__(self) -> None:
            results.append(client.remote_call("add", (1, 2), timeout=PATIENCE))

    rubbish: list[Any] = [Finalized()]
    rubbish.append(rubbish)
    del rubbish
    gc.collect()
    assert results == [3]


def test_calls_from_the_thread_of_the_loop_itself_are_refused(client: Client, fake_broker: FakeBroker) -> None:
    refused: list[str] = []

    def use() -> None:
        try:
            client.remote_call("add", (1, 2))
        except ConfigurationError as error:
            refused.append(str(error))

    class Calling(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            use()

    class Finalized:
        def __del__(self) -> None:
            use()

    async def log() -> None:
        logging.getLogger("rabibridge_core.test").warning("a line from the thread of the loop")
        rubbish: list[Any] = [Finalized()]
        rubbish.append(rubbish)
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
